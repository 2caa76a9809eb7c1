"""The command line: what it takes, what it refuses, and that it says what its exit codes mean."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest

from perf import arguments, runner
from perf.progress import Progress
from perf.rig.children import RigError
from perf.scenario import Options
from perf.scenarios import baseline


def parsed(*given: str) -> dict[str, Any]:
    parser = ArgumentParser()
    arguments.declare(parser)
    return vars(parser.parse_args(given))


@pytest.mark.parametrize(
    "verb", [[], ["baseline"], ["stress"], ["e2e"], ["soak"], ["setup"], ["report"]]
)
def test_the_help_says_what_the_exit_codes_mean(
    verb: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(*verb, "--help")
    said = capsys.readouterr().out
    assert all(
        f"  {code}  {word}" in said for code, word in enumerate(("valid", "invalid", "unknown"))
    )


def test_a_rate_and_a_duration_may_carry_their_units() -> None:
    chosen = parsed("baseline", "--rate", "200/s", "--duration", "30s", "--seed", "1")
    options = arguments.options(chosen)
    assert (options.rate, options.duration_s) == (200, 30)


def test_a_soak_is_told_its_hours() -> None:
    assert arguments.options(parsed("soak", "--hours", "0.5", "--seed", "1")).duration_s == 1800
    assert arguments.options(parsed("soak", "--seed", "1")).duration_s is None
    with pytest.raises(SystemExit):
        parsed("soak", "--hours", "0")


@pytest.mark.parametrize("flag", ["--rate", "--duration"])
@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_no_rate_and_no_duration_is_refused(flag: str, value: str) -> None:
    with pytest.raises(SystemExit):
        parsed("baseline", f"{flag}={value}")


def test_a_run_without_a_seed_gets_one_that_repeats_it() -> None:
    chosen = parsed("stress", "messages")
    again = arguments.seeded(chosen, ["stress", "messages"])
    assert again == ["stress", "messages", "--seed", str(chosen["seed"])]
    assert arguments.seeded(chosen, again) == again


def test_every_group_can_be_run_as_a_whole() -> None:
    for group in ("stress", "e2e"):
        assert parsed(group, "all")["scenario"] == "all"


def test_the_command_that_repeats_a_run_shows_no_password() -> None:
    shown = runner.command(["baseline", "--database", "postgres://me:secret@host/name?x=1"])
    assert shown == "manage.py perf baseline --database 'postgres://me:***@host/name?x=1'"
    for hidden in ("postgres://me:se@ret@host/name", "host=here password=se@ret user=me"):
        assert "ret" not in runner.command(["baseline", "--database", hidden])
    for hidden in (
        "postgres://host/name?user=me&password=secret",
        "password = 'se cret' host=here",
    ):
        assert "cret" not in runner.command(["baseline", f"--database={hidden}"])
    local = "postgres://lockstep@/lockstep?host=/run&port=5432"
    assert local in runner.command(["baseline", "--database", local])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--devices", "0"),
        ("--devices", "-5"),
        ("--devices", "x"),
        ("--outstanding", "0"),
        ("--processes", "0"),
        ("--rate", "nan"),
        ("--rate", "inf"),
        ("--duration", "nan"),
        ("--duration", "inf"),
        ("--json", "/nowhere/at/all.json"),
        ("--html", "/"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_begins(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed("baseline", f"{option}={value}")
    assert f"argument {option}" in capsys.readouterr().err.splitlines()[-1]


def test_what_is_refused_leaves_no_directory(tmp_path: Path) -> None:
    options = Options(seed=1, url="http://127.0.0.1:1", runs=tmp_path / "runs")
    with pytest.raises(RigError, match="needs --accounts"):
        runner.run(baseline.SCENARIO, options, progress=Progress(quiet=True), arguments=[])
    assert list(tmp_path.iterdir()) == []
