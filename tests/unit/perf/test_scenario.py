"""The verdict: wrong beats unknown, unknown beats right, and each has its exit code."""

import msgspec
import pytest

from perf import report
from perf.checkers import Judgement
from perf.measure.latency import Summary
from perf.results import concluded as result
from perf.scenario import EXIT_CODES, Findings, Result
from perf.targets import outcome

GOOD = outcome("T2", 3.0, source="test")
MISSED = outcome("T2", 51.0, source="test")
UNMEASURED = outcome("T2", None, source="test")


def lossy() -> Judgement:
    judgement = Judgement(messages=1, deliveries=1, promises=1)
    judgement.convict("lost", "one is gone")
    return judgement


def concluded(findings: Findings) -> Result:
    return result(
        "test",
        findings,
        seed=1,
        started="2026-01-01T00:00:00+00:00",
        duration_s=1.0,
        environment={"cpus": 2},
        command="manage.py perf test --seed 1",
    )


@pytest.mark.parametrize(
    ("findings", "verdict", "code"),
    [
        (Findings(outcomes=[GOOD]), "valid", 0),
        (Findings(outcomes=[GOOD, MISSED]), "invalid", 1),
        (Findings(outcomes=[GOOD], judgement=lossy()), "invalid", 1),
        (Findings(outcomes=[GOOD], broken=["a connection was lost"]), "invalid", 1),
        (Findings(outcomes=[GOOD], latency=Summary(count=9, overflows=1)), "invalid", 1),
        (Findings(outcomes=[GOOD, UNMEASURED]), "unknown", 2),
        (Findings(outcomes=[GOOD], unknown=["nothing was sent"]), "unknown", 2),
        (Findings(outcomes=[]), "unknown", 2),
        (Findings(outcomes=[UNMEASURED, MISSED]), "invalid", 1),
    ],
)
def test_the_verdict_decides_the_exit_code(findings: Findings, verdict: str, code: int) -> None:
    assert findings.verdict == verdict
    assert concluded(findings).exit_code == code
    assert concluded(findings).passed is (code == 0)


def test_the_exit_codes_are_the_documented_ones() -> None:
    assert EXIT_CODES == {"valid": 0, "invalid": 1, "unknown": 2}


def test_the_json_has_the_documented_fields() -> None:
    written = msgspec.json.decode(report.to_json(concluded(Findings(outcomes=[MISSED]))))
    assert set(written) >= {
        *("scenario", "seed", "started", "duration_s", "environment", "verdict", "passed"),
        *("targets", "anomalies", "figures", "latency_ms", "resources"),
    }
    assert set(written["targets"][0]) >= {
        *("name", "unit", "limit", "goal", "measured", "passed", "source"),
    }
    assert set(written["latency_ms"]) == {"p50", "p90", "p99", "p999", "max", "count"}


def test_the_report_says_the_verdict_first_and_how_to_repeat_it_last() -> None:
    lines = report.text(concluded(Findings(outcomes=[GOOD], judgement=lossy()))).splitlines()
    assert lines[0].startswith("test: INVALID")
    assert "  ✗  lost: 1" in lines
    assert "       one is gone" in lines
    assert lines[-1].endswith("manage.py perf test --seed 1")


def test_the_report_shows_a_missing_sample_as_such() -> None:
    shown = report.text(concluded(Findings(outcomes=[UNMEASURED])))
    assert "no sample" in shown
    assert "?" in shown
