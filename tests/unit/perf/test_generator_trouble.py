"""A late generator: what it spoilt is unknown, and what held in spite of it still holds."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from perf.load.generator import LATE_MS, NICE, Generator, preferred
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


def test_the_generator_goes_before_the_servers_but_not_those_that_it_starts() -> None:
    """Without the right to it, everything stays as it is."""
    before = os.nice(0)
    with preferred() as nice:
        asked = [sys.executable, "-c", "import os; print(os.nice(0))"]
        started = subprocess.run(asked, capture_output=True, text=True, check=True)
        with ThreadPoolExecutor(1) as pool:
            beside = pool.submit(os.nice, 0).result()
    assert nice in (NICE, before)
    assert (int(started.stdout), beside, os.nice(0)) == (max(before, 0), max(before, 0), before)
