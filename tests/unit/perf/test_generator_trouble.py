"""A late generator: what it spoilt is unknown, and what held in spite of it still holds."""

import pytest

from perf.load.generator import LATE_MS, Generator
from perf.measure.latency import Summary
from perf.scenario import Findings
from perf.scenarios.parts.shared import note_generator, outcome_of


def generator(late_ms: float) -> Generator:
    one = Generator()
    for _ in range(100):
        one.sent(late_ms / 1000)
    return one


IN_TIME, LATE = LATE_MS / 2, 3 * LATE_MS


@pytest.mark.parametrize(
    ("late_ms", "measured", "passed", "verdict"),
    [
        (IN_TIME, 20.0, True, "valid"),
        (IN_TIME, 80.0, False, "invalid"),
        (LATE, 20.0, True, "valid"),
        (LATE, 80.0, None, "unknown"),
    ],
)
def test_a_missed_limit_counts_only_if_the_generator_was_in_time(
    late_ms: float, measured: float, passed: bool | None, verdict: str
) -> None:
    one = generator(late_ms)
    found = outcome_of(one, "T2", measured, source="a test")
    assert found.passed is passed
    findings = Findings(outcomes=[found])
    note_generator(one, findings)
    assert findings.verdict == verdict
    assert ("banner" in findings.figures) is (late_ms == LATE)
    if passed is None:
        assert found.measured is None
        assert "80.0 ms says nothing of the server" in found.source


@pytest.mark.parametrize(("late_ms", "verdict"), [(IN_TIME, "invalid"), (LATE, "unknown")])
def test_latencies_beyond_the_range_are_the_generators_own_if_it_was_late(
    late_ms: float, verdict: str
) -> None:
    one = generator(late_ms)
    held = outcome_of(one, "T7", 100.0, source="a test")
    findings = Findings(outcomes=[held], latency=Summary(count=9, overflows=3))
    note_generator(one, findings)
    assert findings.verdict == verdict
