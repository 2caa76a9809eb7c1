"""What a run without a database to ask is told: that nothing was compared, not that nothing happened."""

from pathlib import Path

from perf import evidence
from perf.checkers.planted import story
from perf.history.memory import History
from perf.history.rundir import RunDirectory
from perf.scenario import Findings
from perf.targets import outcome

NOTHING = "nothing was sent, acknowledged and delivered"


def concluded(history: History, tmp_path: Path) -> list[str]:
    directory = RunDirectory(path=tmp_path)
    history.stored = None
    history.write(directory)
    findings = Findings(outcomes=[outcome("T7", 100.0, source="a test")])
    evidence.conclude(findings, directory, goals=())
    assert findings.verdict == "unknown"
    return findings.unknown


def test_what_was_sent_and_delivered_is_known_without_a_database(tmp_path: Path) -> None:
    assert concluded(story(1), tmp_path) == ["what is stored was not compared"]


def test_that_nothing_was_is_known_too(tmp_path: Path) -> None:
    assert concluded(story(1, steps=0), tmp_path)[-1] == NOTHING
