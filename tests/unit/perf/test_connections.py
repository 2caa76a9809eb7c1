"""`perf stress connections`: its stairs, what a connection costs, what the limit was, what is left behind."""

import pytest

from perf.scenario import Options
from perf.scenarios.connections import stairs
from perf.scenarios.parts.ceiling import limit_of, per_connection_kib
from perf.scenarios.parts.ramp import Step, is_late, why_failed
from perf.scenarios.parts.traces import Traces


def a_step(connections: int, **facts: object) -> Step:
    given: dict[str, object] = {
        "connections": connections,
        "connect_per_s": 200.0,
        "connect_p50": 5.0,
        "connect_p99": 20.0,
        "delivery_p50": 2.0,
        "delivery_p99": 9.0,
        "ramp_cpu": 70.0,
        "load_cpu": 20.0,
        "idle_cpu": 3.0,
        "rss_mb": 200 + connections * 0.04,
        "uss_mb": 150 + connections * 0.04,
        "due": 100,
        "reached": 100,
        "reach_ms": 1.0,
        "failed": 0,
        "generator_late": 1.0,
    }
    return Step(**{**given, **facts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "steps"),
    [
        (None, [100, 1_000, 2_500, 5_000, 7_500, 10_000]),
        (1_500, [100, 1_000, 1_500]),
        (19_000, [100, 1_000, 2_500, 5_000, 7_500, 10_000, 15_000, 19_000]),
        (5, [10]),
    ],
)
def test_the_stairs_end_at_what_was_asked_for(asked: int | None, steps: list[int]) -> None:
    assert stairs(Options(seed=1, devices=asked)) == steps


def test_the_cost_of_a_connection_is_the_slope_over_the_steps() -> None:
    found = per_connection_kib([a_step(100), a_step(1_000), a_step(5_000)])
    assert found == pytest.approx((0.04 * 1024, 1.0))


def test_two_steps_are_too_few_for_a_slope() -> None:
    assert per_connection_kib([a_step(100), a_step(1_000)]) is None


def test_a_step_fails_by_failed_sessions_and_by_a_message_that_did_not_reach_all() -> None:
    assert why_failed(a_step(100), attempts=100) == ""
    assert "could not be opened" in why_failed(a_step(100, failed=2), attempts=100)
    assert "only 99 of 100" in why_failed(a_step(100, reached=99), attempts=100)


def test_slow_sessions_make_a_step_late_and_not_failed() -> None:
    slow = a_step(100, connect_p99=100.0)
    assert is_late(slow)
    assert why_failed(slow, attempts=100) == ""


def test_the_limit_is_named_as_what_it_was() -> None:
    few, many = a_step(100), a_step(19_490)
    assert "Limited by file descriptors" in limit_of([few, many], room=19_490)
    assert "Limited by the connect rate" in limit_of([few, a_step(200, late=True)], room=19_490)
    assert "Limited at 200 connections (100 were held)" in limit_of(
        [few, a_step(200, failed_by="x")]
    )
    assert "No resource was at its limit" in limit_of([few], room=19_490)


def test_what_is_left_behind_is_counted_by_its_name() -> None:
    before = Traces(descriptors=49, rows=0, channels=1, sessions=0)
    after = Traces(descriptors=51, rows=0, channels=1, sessions=3)
    assert after.beyond(before) == {"descriptors": 2, "sessions": 3}
    assert before.beyond(after) == {}
    assert Traces(rows=1).unknown == ["descriptors", "channels", "sessions"]
