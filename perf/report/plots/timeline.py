"""Curves over the time of the run, with its faults shaded and its steps marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from perf.report.material import Material
from perf.report.plots.canvas import COLOUR, axes, label_ends, log_ticks, mark, plain_number, shade

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT_IN = 1.75
LEAST_POINTS = 2
MOST_POINTS = 600
LEAST_S = 0.3  # the last line may follow at once: a rate of so short a time is none


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A figure of the series. `rate`: it is a count, shown per second; `scale` multiplies it."""

    name: str
    label: str
    colour: str
    rate: bool = False
    scale: float = 1.0
    dashed: bool = False
    filled: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One plot: its title, its unit, and its curves. `log`: on a logarithmic axis."""

    name: str
    title: str
    unit: str
    curves: Sequence[Curve]
    log: bool = False
    limit: float | None = None


def draw(panel: Panel, material: Material, *, named_marks: bool = False) -> str | None:
    """The SVG; None if the series has none of the figures."""
    drawn = [(curve, found) for curve in panel.curves if (found := points(curve, material))]
    if not drawn:
        return None
    with axes(panel.name, height=HEIGHT_IN) as (on, finished):
        if panel.log:
            on.set_yscale("log")
        shade(on, material.faults, length=material.length_s)
        mark(on, marks(material), length=material.length_s, named=named_marks)
        for curve, found in drawn:
            _draw(on, curve, found)
        _finish(on, panel, material)
        ends = [(found[-1][1], curve.label, COLOUR[curve.colour]) for curve, found in drawn]
        label_ends(on, ends, log=panel.log)
    return finished[0]


def _draw(on: Axes, curve: Curve, found: Sequence[tuple[float, float]]) -> None:
    times, values = zip(*found, strict=True)
    colour = COLOUR[curve.colour]
    if curve.filled:
        on.fill_between(times, values, color=colour, alpha=0.13, linewidth=0)
    on.plot(times, values, color=colour, linestyle=(0, (4, 2.5)) if curve.dashed else "-")


def _finish(on: Axes, panel: Panel, material: Material) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: PLC0415

    on.set_xlim(0, material.length_s)
    if panel.log:
        log_ticks(on)
    else:
        on.set_ylim(0, max(on.get_ylim()[1], 1e-9) * 1.05)
        on.yaxis.set_major_locator(MaxNLocator(4))
    if panel.limit is not None:
        on.axhline(panel.limit, color=COLOUR["limit"], linewidth=1, dashes=(5, 3))
    on.yaxis.set_major_formatter(FuncFormatter(plain_number))
    on.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f} s"))
    on.xaxis.set_major_locator(MaxNLocator(10, integer=True))


def points(curve: Curve, material: Material) -> list[tuple[float, float]]:
    """When and how much, in order; empty if the series hardly knows it."""
    found: list[tuple[float, float]] = []
    before: float | None = None
    for line in material.lines:
        at = material.at(int(line["t"]))
        if curve.name in line:
            passed = at - before if before is not None else 1.0
            value = float(line[curve.name]) * curve.scale
            if not curve.rate:
                found.append((at, value))
            elif passed > LEAST_S:
                found.append((at, value / passed))
        before = at
    if len(found) < LEAST_POINTS or not any(value for _, value in found):
        return []
    return _thinned(found)


def _thinned(found: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `MOST_POINTS`, each the mean of its neighbours: a day has too many seconds to draw."""
    size = -(-len(found) // MOST_POINTS)
    groups = [found[i : i + size] for i in range(0, len(found), size)] if size > 1 else []
    return [
        (fmean(at for at, _ in group), fmean(value for _, value in group)) for group in groups
    ] or found


def marks(material: Material) -> list[tuple[float, str]]:
    """The steps of the run: when, and their names."""
    return [
        (material.at(int(line["t"])), str(line["mark"]))
        for line in material.lines
        if "mark" in line
    ]
