"""Does something drift over many equal cycles? The Theil-Sen slope (Sen 1968) times the cycles, against the beginning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perf.measure.statistics import CONFIDENCE, CYCLES, SETTLING, medians

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
    import numpy as np  # noqa: PLC0415 - slow to load
    from scipy.stats import theilslopes  # noqa: PLC0415

    known = values[SETTLING:]
    if len(known) < CYCLES:
        return None
    points = np.asarray(medians(known), dtype=float)
    found = theilslopes(points, alpha=CONFIDENCE)
    begun = float(np.median(points[: max(len(points) // QUARTER, 1)]))
    scale = 100 * (len(points) - 1) / begun
    return Drift(
        percent=float(found.slope) * scale,
        low=float(found.low_slope) * scale,
        high=float(found.high_slope) * scale,
        cycles=len(known),
    )
