"""The percentile spectrum, and the latency against the load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from perf.report.plots.canvas import COLOUR, axes, label_ends, log_ticks, plain_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT_IN = 2.9
PERCENTS = (0, 50, 90, 99, 99.9, 99.99, 99.999)
COLOURS = ("first", "second", "third", "fourth")
LEAST_STEPS = 2

Points = Sequence[Sequence[float]]
"""Pairs of percent and ms."""


def draw(spectra: Mapping[str, Points], *, limit_ms: float | None = None) -> str | None:
    """Latency by percentile on the axis 1 / (1 - share): each decade is another nine. None without points.

    Two names that differ only in `uncorrected` share a colour; the uncorrected one is dashed.
    """
    known = {name: points for name, points in spectra.items() if points}
    if not known:
        return None
    colours = _colours(known)
    with axes("spectrum", height=HEIGHT_IN, right=0.81) as (on, finished):
        on.set_xscale("log")
        on.set_yscale("log")
        for name, points in known.items():
            x = [1 / max(1 - percent / 100, 1e-7) for percent, _ in points]
            dashes = (0, (3, 2)) if "uncorrected" in name else "-"
            on.plot(x, [ms for _, ms in points], color=COLOUR[colours[name]], linestyle=dashes)
        _percent_axis(on, known)
        ends = [(points[-1][1], name, COLOUR[colours[name]]) for name, points in known.items()]
        if limit_ms is not None:
            ends.append(_limit(on, limit_ms))
        log_ticks(on)
        label_ends(on, ends, log=True)
    return finished[0]


def _colours(names: Mapping[str, Points]) -> dict[str, str]:
    bases = list(dict.fromkeys(_base(name) for name in names))
    return {name: COLOURS[bases.index(_base(name)) % len(COLOURS)] for name in names}


def _base(name: str) -> str:
    return name.replace("uncorrected", "").replace("corrected", "").strip(" ,()_-")


def _percent_axis(on: Axes, spectra: Mapping[str, Points]) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator  # noqa: PLC0415

    furthest = max(1 / max(1 - points[-1][0] / 100, 1e-7) for points in spectra.values())
    shown = [percent for percent in PERCENTS if 1 / (1 - percent / 100) <= furthest * 1.01]
    on.set_xlim(1, furthest)
    on.set_xticks([1 / (1 - percent / 100) for percent in shown], [f"{one:g} %" for one in shown])
    on.xaxis.set_minor_locator(NullLocator())
    on.yaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{plain_number(ms)} ms"))
    on.grid(visible=True, axis="x")


def _limit(on: Axes, limit: float) -> tuple[float, str, str]:
    """Draw it; return its label."""
    on.axhline(limit, color=COLOUR["limit"], linewidth=1, dashes=(5, 3))
    return limit, "limit", COLOUR["limit"]


def against_load(
    steps: Sequence[Mapping[str, Any]], *, limit_ms: float | None = None
) -> str | None:
    """The 99th percentile of each step against the rate that it achieved; None with fewer than two."""
    found = sorted(
        (float(step["achieved"]), float(step["p99"]))
        for step in steps
        if step.get("achieved") and step.get("p99")
    )
    if len(found) < LEAST_STEPS:
        return None
    from matplotlib.ticker import FuncFormatter  # noqa: PLC0415

    with axes("against-load", height=2.2) as (on, finished):
        on.set_yscale("log")
        on.plot(*zip(*found, strict=True), color=COLOUR["first"], marker="o", markersize=5)
        on.set_xlim(0, found[-1][0] * 1.03)
        on.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}/s"))
        on.yaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{plain_number(ms)} ms"))
        ends = [(found[-1][1], "p99", COLOUR["first"])]
        if limit_ms is not None:
            ends.append(_limit(on, limit_ms))
        log_ticks(on)
        label_ends(on, ends, log=True)
    return finished[0]
