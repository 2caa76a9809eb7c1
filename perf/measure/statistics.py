"""Does it leak? What a signal does over equal cycles, sampled once in each when everything is closed.

Laws: a slope counts only if its Theil-Sen interval *and* a moving-block bootstrap's are above zero,
it is above a floor that grows with the work, and the second half does not flatten out; one signal
alone convicts nobody. Sen 1968 (the slope), Künsch 1989 (blocks, because neighbours are alike).
No trend test on raw memory: allocators ratchet, and Mann-Kendall then cries wolf (Machida et al. 2013).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, TypeAlias

from perf.measure.theil_sen import median_slope, theil_sen

Kind: TypeAlias = Literal["blocks", "objects", "in_use", "memory"]
"""What a signal counts: Python's blocks, objects of the collector, bytes that malloc has handed out, or
bytes that the process has of the system. Only the last depends on what an allocator keeps."""

Verdict: TypeAlias = Literal[
    "leak:python", "leak:native", "fragmentation", "cache-warming", "clean", "too-short"
]

LEAKS: frozenset[Verdict] = frozenset({"leak:python", "leak:native"})
CYCLES = 20  # fewer say nothing
SETTLING = 3  # cycles that are left out: pools and caches are filled in them
CONFIDENCE = 0.95
RESAMPLES = 400
POINTS = 100  # that are compared with each other: 5,000 pairs
FLATTENING = 0.5  # a second half that grows less than so much of the first is a plateau
# Floors: what may remain of one connection and of one message, each cycle. Real leaks keep an
# object of them at least; what is below is noise of allocators and counters.
FLOORS: Mapping[Kind, tuple[float, float]] = {
    "blocks": (0.5, 0.02),
    "objects": (0.25, 0.01),
    "in_use": (64.0, 2.0),
    "memory": (128.0, 4.0),
}


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One figure of the server, once for every cycle."""

    name: str
    kind: Kind
    values: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one cycle did: the measure of a leak."""

    connections: int
    messages: int

    def floor(self, kind: Kind) -> float:
        """How much a cycle may leave behind."""
        each_connection, each_message = FLOORS[kind]
        return each_connection * self.connections + each_message * self.messages


@dataclass(frozen=True, kw_only=True)
class Slope:
    """How a signal grows per cycle, with its intervals, and in each half."""

    signal: str
    kind: Kind
    estimate: float
    low: float
    high: float
    bootstrap_low: float
    first_half: float
    second_half: float
    floor: float

    @property
    def certain(self) -> bool:
        """Whether it grows at all, and by more than may remain."""
        return min(self.low, self.bootstrap_low) > 0 and self.estimate > self.floor

    @property
    def flattens(self) -> bool:
        """Whether it comes to rest."""
        return self.second_half < FLATTENING * self.first_half

    @property
    def grows(self) -> bool:
        """Whether it is a leak's."""
        return self.certain and not self.flattens

    def text(self, work: Work) -> str:
        """For example: 12 KiB per 1,000 connections [9, 15]."""
        times = 1000 / max(work.connections, 1)
        low, high = min(self.low, self.bootstrap_low), self.high
        if self.kind in ("blocks", "objects"):
            figures = [f"{times * value:,.0f}" for value in (self.estimate, low, high)]
            return f"{figures[0]} {self.kind} per 1,000 connections [{figures[1]}, {figures[2]}]"
        figures = [f"{times * value / 1024:,.0f}" for value in (self.estimate, low, high)]
        return f"{figures[0]} KiB per 1,000 connections [{figures[1]}, {figures[2]}]"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The verdict, why, and all slopes."""

    verdict: Verdict
    reason: str
    slopes: Sequence[Slope] = ()


def judge(signals: Sequence[Signal], work: Work) -> Finding:
    """Say whether these cycles leak. Signals of the same length, the first cycle first."""
    cycles = min((len(signal.values) for signal in signals), default=0) - SETTLING
    if cycles < CYCLES:
        return Finding(
            verdict="too-short",
            reason=f"{max(cycles, 0)} cycles after the first {SETTLING}; it takes {CYCLES}",
        )
    signals, work = thinned(signals, work)
    slopes = [slope_of(signal, work) for signal in signals]
    verdict, reason = _verdict(slopes)
    return Finding(verdict=verdict, reason=reason, slopes=slopes)


def thinned(signals: Sequence[Signal], work: Work) -> tuple[Sequence[Signal], Work]:
    """At most POINTS of each: medians of so many cycles in a row, and the work of these together.

    Slopes are of all pairs of points, and drawn hundreds of times: thousands of cycles would not end.
    """
    each = -(-min(len(signal.values) for signal in signals) // POINTS)
    return [
        Signal(name=signal.name, kind=signal.kind, values=medians(signal.values))
        for signal in signals
    ], Work(connections=work.connections * each, messages=work.messages * each)


def medians(values: Sequence[float]) -> Sequence[float]:
    """At most POINTS: the values themselves, or medians of as many in a row as it takes; what is over is left out first."""
    each = -(-len(values) // POINTS)
    if each <= 1:
        return values
    return [median(values[at : at + each]) for at in range(len(values) % each, len(values), each)]


def _verdict(slopes: Sequence[Slope]) -> tuple[Verdict, str]:
    growing = {slope.kind for slope in slopes if slope.grows}
    warming = {slope.kind for slope in slopes if slope.certain and slope.flattens}
    python = growing & {"blocks", "objects"}
    if "blocks" in python and len(growing) >= 2:
        return "leak:python", f"{_names(slopes)} grow with the work and do not come to rest"
    if {"in_use", "memory"} <= growing:
        return "leak:native", f"{_names(slopes)} grow, while Python's blocks do not"
    if growing == {"memory"} and not warming & {"in_use", "blocks"}:
        return (
            "fragmentation",
            "the process grows, but nothing that it uses does: try MALLOC_ARENA_MAX=2 or jemalloc",
        )
    if warming:
        return "cache-warming", "what grew came to rest in the second half"
    if growing:
        return "clean", f"only {_names(slopes)} grows, and no second signal bears it out"
    return "clean", "nothing grows with the work"


def _names(slopes: Sequence[Slope]) -> str:
    return ", ".join(slope.signal for slope in slopes if slope.grows)


def slope_of(signal: Signal, work: Work) -> Slope:
    """The Theil-Sen slope of a signal after its first cycles, with both intervals."""
    values = signal.values[SETTLING:]
    found = theil_sen(values, confidence=CONFIDENCE)
    half = len(values) // 2
    return Slope(
        signal=signal.name,
        kind=signal.kind,
        estimate=found.slope,
        low=found.low,
        high=found.high,
        bootstrap_low=_bootstrap_low(values, found.slope),
        first_half=median_slope(values[:half]),
        second_half=median_slope(values[-half:]),
        floor=work.floor(signal.kind),
    )


def _bootstrap_low(values: Sequence[float], slope: float) -> float:
    """The lower end of the slope's interval if blocks of its residuals had come in another order.

    The draws are of a fixed seed: the same cycles get the same verdict.
    """
    import numpy as np  # noqa: PLC0415 - slow to load

    y = np.asarray(values, dtype=float)
    count = len(y)
    line = slope * np.arange(count)
    residuals = y - line - np.median(y - line)
    length = max(2, round(count ** (1 / 3)))
    dice = np.random.default_rng(count)
    starts = dice.integers(0, count - length + 1, size=(RESAMPLES, -(-count // length)))
    picked = (starts[:, :, None] + np.arange(length)).reshape(RESAMPLES, -1)[:, :count]
    first, second = np.triu_indices(count, k=1)
    drawn = line + residuals[picked]
    slopes = np.median((drawn[:, second] - drawn[:, first]) / (second - first), axis=1)
    return float(np.quantile(slopes, (1 - CONFIDENCE) / 2))
