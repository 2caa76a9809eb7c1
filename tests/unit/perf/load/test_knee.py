"""The search for the knee: it finds what a system sustains, and nothing where nothing holds."""

from collections.abc import Callable

import pytest

from perf.load.knee import CLIMB, CONFIRMATIONS, MOST_STEPS, RESOLUTION, Knee


def searched(first: float, holds: Callable[[float, int], bool]) -> tuple[Knee, list[float]]:
    """Search a system of which `holds(rate, step)` says whether a step passes."""
    knee, rates = Knee(first), list[float]()
    while knee.rate is not None:
        rates.append(knee.rate)
        knee.tell(passed=holds(knee.rate, len(rates)))
    return knee, rates


@pytest.mark.parametrize("limit", [50.0, 999.0, 5_000.0, 12_345.0])
@pytest.mark.parametrize("first", [1_000.0, 4_000.0])
def test_the_limit_of_a_steady_system_is_found_and_confirmed(limit: float, first: float) -> None:
    knee, rates = searched(first, lambda rate, _: rate <= limit)
    assert knee.found is not None
    assert limit / RESOLUTION <= knee.found * 1.0001
    assert knee.found <= limit
    assert rates[-CONFIRMATIONS:] == [knee.found] * CONFIRMATIONS
    assert len(rates) < MOST_STEPS


def test_a_rate_that_passed_once_by_luck_is_not_the_result() -> None:
    lucky = 3
    knee, rates = searched(1_000, lambda rate, step: rate <= 1_500 or step == lucky)
    assert rates[lucky - 1] > 1_500
    assert knee.found is not None
    assert knee.found <= 1_500


def test_a_system_that_never_answers_twice_alike_has_no_sustained_rate() -> None:
    knee, rates = searched(1_000, lambda rate, step: step % 2 == 1)
    assert knee.found is None
    assert len(rates) <= MOST_STEPS


def test_a_system_that_holds_nothing_is_given_up_at_one_a_second() -> None:
    knee, rates = searched(100, lambda rate, _: False)
    assert knee.found is None
    assert 1 <= min(rates) < CLIMB


def test_a_system_without_a_limit_ends_the_search_without_a_result() -> None:
    knee, rates = searched(1_000, lambda rate, _: True)
    assert knee.found is None
    assert len(rates) == MOST_STEPS
