"""The Theil-Sen slope of values at equal distances, with its interval: Sen 1968, section 2 for the slope, (2.6) for the interval.

By hand, since scipy takes each process a second to load. Its test has what scipy says, and counts how often
the interval has the truth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from statistics import NormalDist, median


@dataclass(frozen=True, kw_only=True)
class Line:
    """A slope per step, and the ends of its interval."""

    slope: float
    low: float
    high: float


def theil_sen(values: Sequence[float], *, confidence: float) -> Line:
    """The median of the slopes between all pairs, and the slopes that bound it so surely; two values at least."""
    slopes = sorted(_slopes(values))
    pairs = len(slopes)
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * sqrt(_variance(values))
    return Line(
        slope=median(slopes),
        low=slopes[max(round((pairs - reach) / 2) - 1, 0)],
        high=slopes[min(round((pairs + reach) / 2), pairs - 1)],
    )


def median_slope(values: Sequence[float]) -> float:
    """The slope alone."""
    return median(_slopes(values))


def _slopes(values: Sequence[float]) -> list[float]:
    """Between each value and each later one."""
    pairs = combinations(enumerate(values), 2)
    return [(later - sooner) / (second - first) for (first, sooner), (second, later) in pairs]


def _variance(values: Sequence[float]) -> float:
    """How far the pairs that rise and those that fall may differ if there is no trend; equal values make it less."""

    def share(count: int) -> int:
        return count * (count - 1) * (2 * count + 5)

    equal = Counter(values).values()
    return (share(len(values)) - sum(map(share, equal))) / 18
