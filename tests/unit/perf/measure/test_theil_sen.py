"""The slope and its interval are those of scipy 1.17's theilslopes, and the interval has the truth as often as it says."""

import random
from collections.abc import Sequence

import pytest

from perf.measure.theil_sen import Line, median_slope, theil_sen

TRUTH = 0.5
RISING = [2.0, 1.0, 4.0, 3.0, 6.0, 8.0, 5.0, 9.0]
TIED = [1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 3.0, 1.0]
FALLING = [9.5, 7.25, 8.0, 4.5, 5.75, 3.0, -2.0, 1.0, -60.0]


@pytest.mark.parametrize(
    ("values", "confidence", "slope", "low", "high"),
    [
        pytest.param(RISING, 0.95, 1.0, 1 / 3, 1.75, id="rising"),
        pytest.param(TIED, 0.95, 0.0, 0.0, 0.0, id="with ties, which narrow it"),
        pytest.param(FALLING, 0.8, -5 / 3, -2.75, -1.125, id="falling, with an outlier"),
        pytest.param([4.0] * 5, 0.95, 0.0, 0.0, 0.0, id="all equal"),
        pytest.param([1.0, 3.0], 0.95, 2.0, 2.0, 2.0, id="only two"),
    ],
)
def test_slope_and_interval_are_those_of_scipy(
    values: Sequence[float], confidence: float, slope: float, low: float, high: float
) -> None:
    assert theil_sen(values, confidence=confidence) == Line(slope=slope, low=low, high=high)
    assert median_slope(values) == slope


def test_the_interval_has_the_truth_as_often_as_it_says() -> None:
    def has_it(seed: int) -> bool:
        dice = random.Random(seed)
        found = theil_sen([TRUTH * i + dice.gauss(0, 3) for i in range(25)], confidence=0.95)
        return found.low <= TRUTH <= found.high

    assert 0.92 < sum(map(has_it, range(400))) / 400 < 0.98
