"""Latencies as HDR histograms. A value beyond the range is counted, never dropped."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from hdrh.histogram import HdrHistogram

LONGEST_US = 60_000_000  # a minute; a longer one is an overflow and counts as this long
DIGITS = 3  # 0.1 % precision


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles in milliseconds."""

    count: int = 0
    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    p999: float | None = None
    max: float | None = None
    overflows: int = 0


class Latency:
    """A histogram of durations. Record seconds, read milliseconds."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, LONGEST_US, DIGITS)
        self.count = self.overflows = 0
        self._max_s = self._sum_s = 0.0

    def record(self, seconds: float) -> None:
        """Count one duration; a negative one is a broken clock. Raises ValueError for it."""
        if seconds < 0:
            raise ValueError(f"a duration of {seconds} s: two clocks were mixed")
        self.count += 1
        self._sum_s += seconds
        self._max_s = max(self._max_s, seconds)
        if not self._histogram.record_value(max(1, round(seconds * 1e6))):
            self.overflows += 1
            self._histogram.record_value(LONGEST_US)

    def extend(self, seconds: Iterable[float]) -> None:
        """Count many durations."""
        for one in seconds:
            self.record(one)

    def percentile(self, percent: float) -> float | None:
        """The duration in ms that `percent` of all do not exceed; None without samples."""
        if not self.count:
            return None
        return float(self._histogram.get_value_at_percentile(percent)) / 1000

    def summary(self) -> Summary:
        """The usual percentiles."""
        if not self.count:
            return Summary()
        return Summary(
            count=self.count,
            mean=round(self._sum_s / self.count * 1000, 3),
            p50=self.percentile(50),
            p90=self.percentile(90),
            p99=self.percentile(99),
            p999=self.percentile(99.9),
            max=round(self._max_s * 1000, 3),
            overflows=self.overflows,
        )
