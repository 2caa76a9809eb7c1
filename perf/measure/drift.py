"""Does something drift over many equal cycles? The Theil-Sen slope (Sen 1968) times the cycles, against the beginning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from perf.measure.statistics import CONFIDENCE, CYCLES, SETTLING, medians
from perf.measure.theil_sen import theil_sen

QUARTER = 4


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How much a figure has changed from the first cycle to the last, in % of its first quarter's median.

    `low` and `high` are the ends of the slope's 95 % interval.
    """

    percent: float
    low: float
    high: float
    cycles: int

    @property
    def text(self) -> str:
        """For example: +2 % [-1, 5] over 31 cycles."""
        return f"{self.percent:+.1f} % [{self.low:.1f}, {self.high:.1f}] over {self.cycles} cycles"


def drift(values: Sequence[float]) -> Drift | None:
    """The drift of one value a cycle; None if there are too few after those in which caches are filled."""
    known = values[SETTLING:]
    if len(known) < CYCLES:
        return None
    points = medians(known)
    found = theil_sen(points, confidence=CONFIDENCE)
    begun = median(points[: max(len(points) // QUARTER, 1)])
    scale = 100 * (len(points) - 1) / begun
    return Drift(
        percent=found.slope * scale,
        low=found.low * scale,
        high=found.high * scale,
        cycles=len(known),
    )
