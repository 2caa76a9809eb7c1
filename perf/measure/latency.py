"""Latencies as HDR histograms. A value beyond the range is counted, never dropped."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Self

import msgspec
from hdrh.histogram import HdrHistogram

LONGEST_US = 60_000_000  # a minute; a longer one is an overflow and counts as this long
DIGITS = 3  # 0.1 % precision
BUFFER = 1 << 16  # durations; counting so many takes a few milliseconds
PRECISION_BITS = 11  # of a histogram of three digits: 2,048 steps to each power of two


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


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """A histogram on its way to another process; `histogram` in HdrHistogram's own encoding."""

    histogram: str
    count: int
    overflows: int
    sum_s: float
    max_s: float


class Latency:
    """A histogram of durations. Record seconds, read milliseconds.

    Recording appends to a buffer, because it happens inside the load; a full buffer is counted at once.
    """

    def __init__(self) -> None:
        import numpy  # noqa: F401, PLC0415 - slow to load: now, not in the middle of the load

        self._histogram = HdrHistogram(1, LONGEST_US, DIGITS)
        self._fresh = array("d")
        self._counted = self._beyond = 0
        self._max_s = self._sum_s = 0.0

    def record(self, seconds: float) -> None:
        """Count one duration; a negative one is a broken clock. Raises ValueError for it."""
        if seconds < 0:
            raise ValueError(f"a duration of {seconds} s: two clocks were mixed")
        self._fresh.append(seconds)
        if len(self._fresh) >= BUFFER:
            self._fold()

    def extend(self, seconds: Iterable[float]) -> None:
        """Count many durations."""
        for one in seconds:
            self.record(one)

    def merge(self, other: Latency) -> None:
        """Count everything that another has counted."""
        self._fold()
        other._fold()
        self._histogram.add(other._histogram)
        self._counted += other._counted
        self._beyond += other._beyond
        self._sum_s += other._sum_s
        self._max_s = max(self._max_s, other._max_s)

    @property
    def count(self) -> int:
        """How many durations."""
        return self._counted + len(self._fresh)

    @property
    def overflows(self) -> int:
        """How many of them were longer than the histogram reaches."""
        self._fold()
        return self._beyond

    def percentile(self, percent: float) -> float | None:
        """The duration in ms that `percent` of all do not exceed; None without samples."""
        self._fold()
        if not self._counted:
            return None
        return float(self._histogram.get_value_at_percentile(percent)) / 1000

    def summary(self) -> Summary:
        """The usual percentiles."""
        self._fold()
        if not self._counted:
            return Summary()
        return Summary(
            count=self._counted,
            mean=round(self._sum_s / self._counted * 1000, 3),
            p50=self.percentile(50),
            p90=self.percentile(90),
            p99=self.percentile(99),
            p999=self.percentile(99.9),
            max=round(self._max_s * 1000, 3),
            overflows=self._beyond,
        )

    def packed(self) -> Packed:
        """Everything in it, to be sent to another process."""
        self._fold()
        return Packed(
            histogram=self._histogram.encode().decode(),
            count=self._counted,
            overflows=self._beyond,
            sum_s=self._sum_s,
            max_s=self._max_s,
        )

    @classmethod
    def unpacked(cls, packed: Packed) -> Self:
        """The same histogram again."""
        latency = cls()
        latency._histogram.decode_and_add(packed.histogram.encode())
        latency._counted, latency._beyond = packed.count, packed.overflows
        latency._sum_s, latency._max_s = packed.sum_s, packed.max_s
        return latency

    def _fold(self) -> None:
        """Put the buffer into the histogram: equal durations (to its precision) as one record."""
        if not self._fresh:
            return
        import numpy as np  # noqa: PLC0415

        seconds = np.frombuffer(self._fresh)
        self._counted += len(seconds)
        self._sum_s += float(seconds.sum())
        self._max_s = max(self._max_s, float(seconds.max()))
        micros = np.maximum(np.rint(seconds * 1e6), 1).astype(np.int64)
        self._beyond += int((micros > LONGEST_US).sum())
        micros = np.minimum(micros, LONGEST_US)
        shifts = np.maximum(np.frexp(micros)[1] - PRECISION_BITS, 0)
        counts = np.bincount((shifts << PRECISION_BITS) + (micros >> shifts))
        for index in np.flatnonzero(counts).tolist():
            shift, rest = index >> PRECISION_BITS, index & ((1 << PRECISION_BITS) - 1)
            self._histogram.record_value(rest << shift, int(counts[index]))
        self._fresh = array("d")
