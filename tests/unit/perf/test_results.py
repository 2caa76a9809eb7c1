"""What several runs merge into: everything of all, and the worst verdict."""

import msgspec
import pytest

from perf.checkers import Judgement
from perf.measure.latency import Latency
from perf.results import concluded, merged, spectrum
from perf.scenario import Findings, Result
from perf.targets import outcome


def a_result(name: str, findings: Findings) -> Result:
    return concluded(
        name,
        findings,
        seed=1,
        started="2026-01-01T00:00:00+00:00",
        duration_s=1.5,
        environment={"cpus": 2},
        command=f"manage.py perf stress {name}",
    )


def good() -> Result:
    return a_result("good", Findings(outcomes=[outcome("T2", 3.0, source="3 of them")]))


def bad() -> Result:
    judgement = Judgement()
    judgement.convict("lost", "one is gone")
    found = Findings(outcomes=[outcome("T7", 100.0, source="all")], judgement=judgement)
    return a_result("bad", found)


def vague() -> Result:
    return a_result("vague", Findings(outcomes=[outcome("T2", None, source="nobody looked")]))


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        ([good(), good()], "valid"),
        ([good(), vague()], "unknown"),
        ([vague(), bad(), good()], "invalid"),
    ],
)
def test_the_worst_verdict_wins(results: list[Result], verdict: str) -> None:
    assert merged("stress all", results, command="").verdict == verdict


def test_a_merged_result_has_the_targets_and_anomalies_of_all_and_the_single_ones() -> None:
    result = merged("stress all", [good(), bad()], command="manage.py perf stress all")
    assert [target.source for target in result.targets] == ["good: 3 of them", "bad: all"]
    assert result.anomalies["lost"] == 1
    assert [one.scenario for one in result.runs] == ["good", "bad"]
    assert result.duration_s == 3.0
    written = msgspec.json.decode(msgspec.json.encode(result))
    assert written["runs"][1]["anomalies"]["lost"] == 1
    assert set(written["latency_ms"]) == {"p50", "p90", "p99", "p999", "max", "count"}


def test_a_spectrum_goes_as_far_as_its_samples_can_tell() -> None:
    latency = Latency()
    latency.extend(number / 1000 for number in range(1, 1001))
    points = spectrum(latency)
    assert points == sorted(points)
    assert points[0][0] == 0
    assert 99.9 <= points[-1][0] <= 99.96  # of 1,000 samples nothing is known beyond
    assert points[-1][1] == pytest.approx(1000, rel=0.01)


def test_nobody_has_no_spectrum() -> None:
    assert spectrum(Latency()) == []


def test_the_ledger_of_what_was_judged_is_in_the_result_and_none_of_what_was_not() -> None:
    judged = Judgement(messages=2, deliveries=2, promises=2)
    judged.ledger.invoked = judged.ledger.ok = 2
    found = a_result("x", Findings(outcomes=[], judgement=judged)).figures["ledger"]
    assert (found["invoked"], found["ok"], found["balanced"]) == (2, 2, True)
    judged.ledger.failed = 1
    assert not a_result("x", Findings(outcomes=[], judgement=judged)).figures["ledger"]["balanced"]
    assert "ledger" not in a_result("x", Findings(outcomes=[])).figures


def test_recovery_is_in_the_result_if_there_was_a_fault() -> None:
    judged = Judgement()
    assert a_result("x", Findings(outcomes=[], judgement=judged)).liveness == {}
    judged.liveness.healed = 1
    judged.liveness.converged_ms = [5.0, 900.0, 20.0]
    found = a_result("x", Findings(outcomes=[], judgement=judged)).liveness
    assert (found["converged_p50_ms"], found["converged_max_ms"]) == (20, 900)
    assert found["devices_behind"] == 0
