"""The breaker opens for what lasts, lets one try a second, and closes with the first answer."""

from __future__ import annotations

from presence.breaker import PATIENCE_S, PROBE_S, Breaker, State
from tests.unit.messaging.overload.clock import Clock


def opened() -> tuple[Breaker, Clock]:
    clock = Clock()
    breaker = Breaker(clock=clock)
    assert not breaker.failed(since=clock.now)
    clock.now += PATIENCE_S
    assert breaker.failed(since=clock.now)
    return breaker, clock


def state_of(breaker: Breaker) -> State:
    """Of now: the type checker thinks that it stays."""
    return breaker.state


def test_failures_that_are_over_soon_open_nothing() -> None:
    clock = Clock()
    breaker = Breaker(clock=clock)
    for _ in range(100):
        breaker.failed(since=clock.now)
        clock.now += PATIENCE_S / 101
    assert not breaker.refuses()
    breaker.succeeded()
    clock.now += PATIENCE_S
    assert not breaker.failed(since=clock.now)
    assert not breaker.refuses()


def test_one_time_out_that_lasted_is_enough() -> None:
    """A frozen database: the first that find out have waited for all the others."""
    clock = Clock()
    breaker = Breaker(clock=clock)
    assert breaker.failed(since=clock.now - PATIENCE_S)
    assert breaker.refuses()


def test_an_open_breaker_lets_one_try_a_second_and_nobody_else() -> None:
    breaker, clock = opened()
    for _ in range(3):
        assert breaker.refuses()
        assert state_of(breaker) == "open"
        clock.now += PROBE_S
        assert [breaker.refuses() for _ in range(50)] == [False] + [True] * 49
        assert state_of(breaker) == "half-open"
        assert breaker.failed(since=clock.now)
        assert state_of(breaker) == "open"


def test_whoever_tries_and_never_says_how_it_went_does_not_keep_it_open() -> None:
    breaker, clock = opened()
    clock.now += PROBE_S
    assert not breaker.refuses()
    clock.now += PROBE_S
    assert not breaker.refuses()


def test_the_first_answer_closes_it_and_it_takes_a_whole_outage_to_open_again() -> None:
    breaker, clock = opened()
    breaker.succeeded()
    assert breaker.state == "closed"
    assert not any(breaker.refuses() for _ in range(50))
    breaker.failed(since=clock.now)
    clock.now += PATIENCE_S / 2
    assert not breaker.failed(since=clock.now)


def test_it_tells_of_each_change_once() -> None:
    breaker, clock = opened()
    told: list[State] = []
    breaker.on_change = told.append
    for _ in range(3):
        breaker.succeeded()
    for _ in range(3):
        clock.now += PATIENCE_S
        breaker.failed(since=clock.now)
    assert told == ["closed", "open"]
