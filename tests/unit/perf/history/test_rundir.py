"""Every run has a directory of its own, found again by its name, or as the latest."""

from pathlib import Path

import pytest

from perf.history.rundir import NoRun, RunDirectory


def test_two_runs_within_a_second_have_two_directories_and_the_latest_is_the_second(
    tmp_path: Path,
) -> None:
    first = RunDirectory.make(tmp_path, scenario="messages", seed=7)
    second = RunDirectory.make(tmp_path, scenario="messages", seed=7)
    assert first.path != second.path
    assert first.path.name.partition("-")[2] == "7"
    assert (tmp_path / "latest").resolve() == second.path
    assert first.history.is_dir()
    assert first.logs.is_dir()


def test_a_run_is_found_by_its_path_by_its_name_and_as_the_latest(tmp_path: Path) -> None:
    made = RunDirectory.make(tmp_path, scenario="baseline", seed=1)
    made.plan.write_text("{}")
    name = f"baseline/{made.path.name}"
    for wanted in (None, "latest", name, str(made.path)):
        assert RunDirectory.find(tmp_path, wanted).path == made.path.resolve()


def test_a_run_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(NoRun, match="there is no run yesterday in"):
        RunDirectory.find(tmp_path, "yesterday")
