"""Faults and their moments: the seed decides, every fault has a name and a sentence, the unfelt proves nothing."""

from typing import Any

import pytest

from perf import faults
from perf.checkers import Judgement
from perf.faults import nemesis
from perf.faults.schedule import PAUSE_S, SPREAD_S, moment, steps
from perf.scenario import Options
from perf.scenarios import failure_recovery
from perf.scenarios.failure_recovery import findings
from perf.scenarios.parts.endured import Endured
from perf.scenarios.parts.verdicts import together


def test_the_same_seed_gives_the_same_moment_and_another_seed_another() -> None:
    assert moment(1, "lock", (3, 6)) == moment(1, "lock", (3, 6))
    assert moment(1, "lock", (3, 6)) != moment(2, "lock", (3, 6))
    assert moment(1, "lock", (3, 6)) != moment(1, "replay", (3, 6))


@pytest.mark.parametrize("name", faults.ALL)
def test_every_fault_begins_and_ends_within_its_bounds(name: str) -> None:
    least, most = faults.ALL[name].hold_s
    for seed in range(20):
        after_s, hold_s = moment(seed, name, (least, most))
        assert 0 <= after_s <= SPREAD_S
        assert least <= hold_s <= most


def test_a_run_is_all_faults_or_the_one_that_was_asked_for_and_its_plan_says_which() -> None:
    assert failure_recovery.names(Options(seed=1)) == list(faults.ALL)
    assert failure_recovery.names(Options(seed=1, fault="lock")) == ["lock"]
    plan = failure_recovery.plan(Options(seed=1, fault="lock"))
    assert "10.0 s" in plan["faults"]["lock"]


def test_a_row_of_faults_is_the_seeds_and_names_none_twice() -> None:
    bounds = dict.fromkeys("abcdefgh", (1.0, 2.0))
    row = steps(7, bounds, count=5)
    assert row == steps(7, dict(reversed(bounds.items())), count=5)
    assert row != steps(8, bounds, count=5)
    assert len({step.name for step in row}) == 5
    for step in row:
        assert PAUSE_S[0] <= step.pause_s <= PAUSE_S[1]
        assert 1 <= step.hold_s <= 2


def test_the_nemesis_chooses_from_what_needs_nothing_prepared_and_its_plan_names_them() -> None:
    chosen = [step.name for step in nemesis.plan(3, faults.ANYWHERE)]
    assert len(chosen) == nemesis.COUNT
    plan = failure_recovery.plan(Options(seed=3, fault="nemesis"))
    assert all(name in plan["faults"]["nemesis"] for name in chosen)


def test_a_row_of_which_one_was_not_felt_proves_nothing() -> None:
    one = endured(name="nemesis", felt={"lock": 3.0, "replay": 0.0}, unfelt=["replay"])
    assert one.verdict == "unknown"
    found = findings([one])
    assert found.verdict == "unknown"
    assert "nemesis: nobody felt replay" in found.problems


def test_what_can_not_be_had_on_this_machine_is_unknown_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    for name in ("disk-full-table", "disk-full-wal", "host-cut", "host-lost"):
        assert "only root" in faults.ALL[name].why_not()
        assert "only root" in failure_recovery.plan(Options(seed=1, fault=name))["faults"][name]
    skipped = endured(skipped="only root can mount a small disk", recovery_s=None)
    assert skipped.verdict == "unknown"
    found = findings([endured(felt={"x": 1.0}), skipped])
    assert found.verdict == "unknown"
    assert "lock: only root can mount a small disk" in found.problems


def test_what_the_fault_itself_found_broken_is_broken() -> None:
    found = findings([endured(felt={"x": 1.0}, broken=["1 of 9 messages is not in the database"])])
    assert found.verdict == "invalid"


def endured(**more: Any) -> Endured:
    judgement = Judgement(messages=1, deliveries=1, promises=1, expected=1)
    facts: dict[str, Any] = {
        "name": "lock",
        "what": "it locks",
        "judgement": judgement,
        "recovery_s": 1.0,
        **more,
    }
    return Endured(**facts)


def test_a_fault_that_was_felt_and_recovered_from_is_valid() -> None:
    one = endured(felt={"refusals": 3.0})
    assert one.verdict == "valid"
    assert findings([one]).verdict == "valid"


def test_a_run_that_did_not_test_what_it_had_to_proves_nothing() -> None:
    """Each fault for itself: that another one came by it says nothing."""
    goals = frozenset({"lost receipt"})
    whole = endured(name="lock", felt={"x": 1.0}, judgement=well(goals, tested=3))
    other = endured(name="replay", felt={"x": 1.0}, judgement=well(goals, tested=0))
    assert (whole.verdict, other.verdict) == ("valid", "unknown")
    found = findings([whole, other])
    assert found.verdict == "unknown"
    assert "replay: lost receipt was not tested" in found.problems


def well(goals: frozenset[str], *, tested: int) -> Judgement:
    judgement = Judgement(goals=goals, messages=1, deliveries=1, promises=1)
    judgement.check("lost receipt", times=tested)
    return judgement


def test_a_fault_that_nobody_felt_makes_the_verdict_unknown() -> None:
    one = endured(felt={"refusals": 0.0})
    assert one.verdict == "unknown"
    found = findings([endured(felt={"refusals": 3.0}), one])
    assert found.verdict == "unknown"
    assert any("lock was felt" in problem for problem in found.problems)


def test_a_recovery_that_took_too_long_or_never_came_makes_it_invalid() -> None:
    assert findings([endured(felt={"x": 1.0}, recovery_s=31.0)]).verdict == "invalid"
    never = endured(felt={"x": 1.0}, recovery_s=None, broken=["it was not as before"])
    assert never.verdict == "invalid"
    assert findings([never]).verdict == "invalid"


def test_an_anomaly_of_one_fault_is_one_of_the_whole_run_and_keeps_its_name() -> None:
    bad = Judgement(messages=2, deliveries=3, promises=4)
    bad.convict("lost", "seq 3 never reached it")
    total = together({"lock": bad, "replay": Judgement(messages=5, deliveries=6, promises=7)})
    assert total.counts["lost"] == total.anomalies == 1
    assert total.witnesses["lost"] == ["lock: seq 3 never reached it"]
    assert (total.messages, total.deliveries, total.promises) == (7, 9, 11)
    assert findings([endured(felt={"x": 1.0}, judgement=bad)]).verdict == "invalid"
