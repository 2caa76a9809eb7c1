"""Targets: a figure is held against its limit on the right side, and none is not a pass."""

import pytest

from perf.targets import TABLE, outcome


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("T1", 99.9, 100.0),
        ("T7", 99.1, 99.0),
        ("T8", 100.0, 99.9),
        ("T9", 100.0, 99.99),
        ("T13.durable", 1_000.0, 999.9),
        ("T16", 49.9, 50.0),
    ],
)
def test_a_figure_passes_on_one_side_of_the_limit_only(key: str, good: float, bad: float) -> None:
    assert outcome(key, good, source="test").passed is True
    assert outcome(key, bad, source="test").passed is False


def test_a_figure_that_was_not_measured_neither_passes_nor_fails() -> None:
    missing = outcome("T2", None, source="test")
    assert missing.passed is None
    assert missing.reached is None


@pytest.mark.parametrize("key", TABLE)
def test_every_goal_is_stricter_than_its_limit_or_equal(key: str) -> None:
    target = TABLE[key]
    upward = target.better in {"above", "at_least"}
    assert (target.goal >= target.limit) if upward else (target.goal <= target.limit)


def test_a_goal_of_all_is_reached_by_all() -> None:
    assert outcome("T7", 100.0, source="test").reached is True
    assert outcome("T7", 99.99, source="test").reached is False
