"""Plans: the seed decides everything, the rate is what was asked for, and every edit has its message."""

import pytest

from perf.load.plan import LONGEST, NOTHING, SETTLED_S, SHORTEST, Arrival, Mix, Phase, Plan, make
from perf.load.presets import PRESETS, UnknownPreset, phases_of

EVERYTHING = Mix(send=6, edit=2, delete=1, read=1, resume=0.1)


def steady(seed: int = 7, *, rate: float = 200, seconds: float = 5, **more: object) -> Plan:
    return make(seed=seed, phases=[Phase(seconds=seconds, rate=rate)], devices=100, **more)


def columns(plan: Plan) -> bytes:
    return b"".join(
        bytes(column) for column in (plan.at, plan.device, plan.what, plan.length, plan.target)
    )


def test_the_same_seed_gives_the_same_plan_byte_for_byte() -> None:
    first = steady(mix=EVERYTHING)
    again = steady(mix=EVERYTHING)
    assert columns(again) == columns(first)
    assert again.digest == first.digest
    assert steady(8, mix=EVERYTHING).digest != first.digest


def test_a_plan_is_the_same_in_every_release_of_the_rig() -> None:
    assert steady(mix=EVERYTHING).digest == "626a0dc8f16e7d58"


def test_poisson_arrivals_keep_the_rate_and_the_order_and_vary_as_poisson_does() -> None:
    plan = steady(1, rate=200, seconds=50)
    assert len(plan) == pytest.approx(10_000, rel=0.05)
    assert list(plan.at) == sorted(plan.at)
    assert plan.at[-1] <= 50
    assert set(plan.device) == set(range(100))
    gaps = [after - before for before, after in zip(plan.at, plan.at[1:], strict=False)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert variance == pytest.approx(mean**2, rel=0.1)


def test_constant_arrivals_are_evenly_apart_across_phases() -> None:
    phases = [Phase(seconds=1, rate=10), Phase(seconds=2, rate=5)]
    plan = make(seed=1, phases=phases, devices=1, gaps="constant")
    expected = [*(n / 10 for n in range(1, 11)), *(1 + n / 5 for n in range(1, 11))]
    assert list(plan.at) == pytest.approx(expected)


@pytest.mark.parametrize(("rate", "to"), [(0.0, 100.0), (100.0, 0.0), (50.0, 150.0)])
def test_a_ramp_has_at_each_moment_the_rate_between_its_ends(rate: float, to: float) -> None:
    plan = make(seed=1, phases=[Phase(seconds=100, rate=rate, to=to)], devices=1, gaps="constant")
    for begin in (0, 40, 90):
        middle = rate + (to - rate) * (begin + 5) / 100
        found = sum(begin < at <= begin + 10 for at in plan.at)
        assert found == pytest.approx(10 * middle, abs=2)


def test_edits_and_deletions_name_an_earlier_send_of_their_device_once() -> None:
    plan = steady(mix=EVERYTHING, rate=400, seconds=20)
    rows: list[Arrival] = list(plan)
    changed = [row for row in rows if row.what in ("edit", "delete")]
    assert len(changed) > 500
    for row in changed:
        target = rows[row.target]
        assert (target.what, target.device) == ("send", row.device)
        assert target.at <= row.at - SETTLED_S
    assert len({row.target for row in changed}) == len(changed) == len(plan.targets)
    assert {row.target for row in rows if row.what in ("send", "read", "resume")} == {NOTHING}
    assert set(plan.counts) == {"send", "edit", "delete", "read", "resume"}


def test_a_reply_names_an_earlier_message_and_is_edited_like_any_other() -> None:
    plan = steady(mix=Mix(send=2, edit=2, reply=2), rate=400, seconds=20)
    rows = list(plan)
    replies = [row for row in rows if row.what == "reply"]
    assert len(replies) > 500
    assert all(rows[row.target].what in ("send", "reply") for row in replies)
    assert len({row.target for row in rows if row.target != NOTHING}) == len(plan.targets)
    assert any(rows[row.target].what == "reply" for row in rows if row.what == "edit")


def test_bodies_keep_their_bounds() -> None:
    plan = steady(rate=2_000)
    assert min(plan.length) == SHORTEST
    assert max(plan.length) == LONGEST


def test_the_parts_of_a_plan_are_together_the_plan() -> None:
    plan = steady(mix=EVERYTHING, rate=400, seconds=20)
    parts = [plan.part(first, 40) for first in (0, 40, 80)]
    assert sum(len(part) for part in parts) == len(plan)
    rows = list(plan)
    for first, part in zip((0, 40, 80), parts, strict=True):
        mine = [row for row in rows if first <= row.device < first + 40]
        for whole, row in zip(mine, part, strict=True):
            assert (row.at, row.device + first, row.what) == (whole.at, whole.device, whole.what)
            if whole.target != NOTHING:
                assert mine[row.target] == rows[whole.target]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_load_at_multiples_of_the_rate(name: str) -> None:
    slow, fast = phases_of(name, rate=1), phases_of(name, rate=50)
    assert [phase.seconds for phase in slow] == [phase.seconds for phase in fast]
    assert sum(phase.count for phase in fast) == pytest.approx(
        50 * sum(phase.count for phase in slow)
    )


def test_an_unknown_preset_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(UnknownPreset, match="choose from smoke, average, stress"):
        phases_of("huge", rate=1)
