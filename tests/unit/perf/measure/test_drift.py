"""What gets slower from cycle to cycle is said to, by how much and how surely; noise is not."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from perf.measure.drift import drift
from perf.measure.statistics import CYCLES, POINTS, SETTLING, Signal, Work, judge, medians

WORK = Work(connections=200, messages=700)
THOUSANDS = 3_000  # days of two days' soak


def latencies(*, each_percent: float, count: int, seed: int = 1) -> Sequence[float]:
    dice = np.random.default_rng(seed)
    steady = 3.0 * (1 + each_percent / 100 * np.arange(count))
    return [float(value) for value in steady * dice.lognormal(0, 0.1, count)]


def blocks(*, each: float) -> Sequence[float]:
    noise = np.random.default_rng(1).normal(0, 60, THOUSANDS)
    return [float(value) for value in 1e6 + each * np.arange(THOUSANDS) + noise]


def test_too_few_cycles_say_nothing() -> None:
    assert drift(latencies(each_percent=5, count=SETTLING + CYCLES - 1)) is None


def test_noise_is_no_drift() -> None:
    surely = [
        found.low
        for seed in range(40)
        if (found := drift(latencies(each_percent=0, count=33, seed=seed))) is not None
    ]
    assert len(surely) == 40
    assert max(surely) < 10  # the goal


def test_what_doubles_within_the_run_is_surely_more_than_half_as_slow_again() -> None:
    found = drift(latencies(each_percent=100 / 33, count=33))
    assert found is not None
    assert 50 < found.low < found.percent < found.high
    assert found.text.startswith("+")


def test_thousands_of_cycles_become_medians_of_many_in_a_row_the_newest_ones_whole() -> None:
    found = medians(list(range(THOUSANDS + 7)))
    assert len(found) <= POINTS
    steps = {later - sooner for sooner, later in pairwise(found)}
    assert len(steps) == 1
    assert found[-1] > THOUSANDS - steps.pop()
    assert medians([1.0, 2.0]) == [1.0, 2.0]


@pytest.mark.slow
def test_a_leak_of_thousands_of_cycles_is_found_and_none_is_found_where_none_is() -> None:
    def verdict(each: float) -> str:
        kinds = ("blocks", "objects")
        return judge(
            [Signal(name=one, kind=one, values=blocks(each=each)) for one in kinds], WORK
        ).verdict

    assert verdict(2 * WORK.connections) == "leak:python"
    assert verdict(0) == "clean"
    # Less than may remain of a connection and a message is no leak, however long it goes on.
    assert verdict(0.1 * WORK.connections) != "leak:python"
