"""Plans: the seed decides everything, and the rate is what was asked for."""

import pytest

from perf.workload import body, plan


def test_the_same_seed_gives_the_same_plan() -> None:
    first = plan(seed=7, rate=200, duration_s=5, devices=100)
    assert plan(seed=7, rate=200, duration_s=5, devices=100) == first
    assert plan(seed=8, rate=200, duration_s=5, devices=100) != first


def test_a_plan_keeps_its_rate_its_order_and_its_bounds() -> None:
    arrivals = plan(seed=1, rate=200, duration_s=50, devices=10)
    assert len(arrivals) == pytest.approx(10_000, rel=0.05)
    times = [arrival.at for arrival in arrivals]
    assert times == sorted(times)
    assert times[-1] < 50
    assert {arrival.device for arrival in arrivals} == set(range(10))


@pytest.mark.parametrize("length", [0, 1, 20, 200, 5_000])
def test_a_body_has_the_length_asked_for(length: int) -> None:
    assert len(body(length)) == length
