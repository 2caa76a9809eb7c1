"""What the series adds to the findings: nothing that the scenario has said by itself is replaced."""

from pathlib import Path

from perf.history.rundir import RunDirectory
from perf.observed import conclude, resources, sampler_percent
from perf.scenario import Findings
from tests import sample_run


def line(second: int, **figures: float) -> dict[str, float]:
    return {
        "t": second * 10**9,
        **{name.replace("__", "."): value for name, value in figures.items()},
    }


def test_resources_are_the_mean_of_cpu_and_the_most_of_everything_else() -> None:
    lines = [
        line(1, server__cpu_percent=10, server__rss_mb=100),
        line(2, server__cpu_percent=30, server__rss_mb=90),
    ]
    assert resources(lines) == {"server": {"rss_mb": 100, "cpu_percent": 20}}


def test_a_group_without_a_process_is_left_out() -> None:
    assert resources([line(1, valkey__processes=0, valkey__cpu_percent=0)]) == {}


def test_the_sampler_says_what_it_cost() -> None:
    lines = [line(1, sampler__cpu_ms=5), line(11, sampler__cpu_ms=105)]
    assert sampler_percent(lines) == 1.0
    assert sampler_percent(lines[:1]) is None


def test_findings_get_the_limit_and_keep_their_own_words(tmp_path: Path) -> None:
    directory = sample_run.make(tmp_path / "run")
    findings = Findings(outcomes=[], resources={"server": "its own"})
    conclude(findings, directory, {"cpus": 2})
    assert findings.resources["server"] == "its own"
    assert findings.resources["postgres"]["cpu_percent"] > 1
    assert "Next lever" in findings.limiting
    again = Findings(outcomes=[], limiting="mine")
    conclude(again, directory, {"cpus": 2})
    assert again.limiting == "mine"


def test_without_a_series_nothing_is_claimed(tmp_path: Path) -> None:
    findings = Findings(outcomes=[])
    conclude(findings, RunDirectory(path=tmp_path), {})
    assert (findings.resources, findings.limiting, findings.figures) == ({}, "", {})
