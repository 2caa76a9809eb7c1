"""A bucket gives what it says, no more and no less, and is forgotten when it is full again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from messaging.overload.buckets import FEW, Buckets
from tests.unit.messaging.overload.clock import Clock


def taken(buckets: Buckets, clock: Clock, key: str = "a", *, tries: int = 1_000) -> int:
    """How many of so many tries at this moment got a token."""
    return sum(buckets.take(key, clock.now) is None for _ in range(tries))


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    clock = Clock()
    buckets = Buckets(rate=10, burst_s=2)
    assert taken(buckets, clock) == 20
    clock.now += 0.35
    assert taken(buckets, clock) == 3
    clock.now += 60
    assert taken(buckets, clock) == 20


def test_each_key_has_a_bucket_of_its_own() -> None:
    clock, buckets = Clock(), Buckets(rate=10, burst_s=1)
    assert taken(buckets, clock, "a") == taken(buckets, clock, "b") == 10


def test_who_waits_as_told_finds_a_quarter_of_the_bucket() -> None:
    """With one token it would be refused again at once: a lane has many to send."""
    clock = Clock()
    buckets = Buckets(rate=10, burst_s=4)
    taken(buckets, clock)
    wait = buckets.take("a", clock.now)
    assert wait is not None
    clock.now += wait / 1000
    assert taken(buckets, clock) in (10, 11)


def test_a_rate_of_nothing_bounds_nothing() -> None:
    clock, buckets = Clock(), Buckets(rate=0, burst_s=1)
    assert taken(buckets, clock) == 1_000
    assert len(buckets) == 0


def test_a_rate_below_one_a_burst_still_gives_one() -> None:
    clock = Clock()
    buckets = Buckets(rate=0.1, burst_s=1)
    assert taken(buckets, clock) == 1
    clock.now += 10
    assert taken(buckets, clock) == 1


def test_buckets_that_are_full_again_are_forgotten() -> None:
    clock = Clock()
    buckets = Buckets(rate=10, burst_s=1)
    for n in range(50 * FEW):
        clock.now += 0.01
        buckets.take(str(n), clock.now)
    assert len(buckets) <= FEW + 1


def test_of_new_people_each_day_no_more_than_two_days_buckets_are_kept() -> None:
    clock, day = Clock(), 150
    buckets = Buckets(rate=10, burst_s=1)
    for n in range(40 * day):
        clock.now += 0.001 if n % day else 3_600
        buckets.take(str(n), clock.now)
        assert len(buckets) <= 2 * day


def test_who_comes_back_under_the_same_key_gets_no_fresh_bucket() -> None:
    clock = Clock()
    buckets = Buckets(rate=1, burst_s=1_000)
    assert taken(buckets, clock) == 1_000
    for n in range(5 * FEW):  # sweeps
        buckets.take(f"other {n}", clock.now)
    assert taken(buckets, clock) == 0


@given(st.lists(st.floats(0, 3), max_size=60), st.integers(1, 50), st.floats(0.1, 5))
def test_no_span_of_time_gives_more_than_a_burst_and_its_rate(
    pauses: list[float], rate: int, burst_s: float
) -> None:
    """Of any times of asking: the bound that an operator was promised."""
    clock = Clock()
    buckets = Buckets(rate=rate, burst_s=burst_s)
    moments: list[float] = []
    for pause in pauses:
        clock.now += pause
        moments += [clock.now] * taken(buckets, clock, tries=5)
    for first in range(len(moments)):
        for last in range(first, len(moments)):
            most = max(burst_s * rate, 1) + rate * (moments[last] - moments[first])
            assert last - first + 1 <= most + 1e-3
