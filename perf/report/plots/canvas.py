"""Matplotlib, made to draw for a page: text stays text, and colours are the page's own variables.

A colour here is a placeholder that no one else uses; in the finished SVG it becomes `var(--name)`,
so one picture serves light, dark and paper.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import log10
from typing import TYPE_CHECKING, Any
from zlib import crc32

from perf.report.material import Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# One name per thing that is drawn anywhere, so that PostgreSQL has the same colour on every plot.
NAMES = (
    "ink", "muted", "grid", "limit",
    "server", "postgres", "valkey", "generator", "others",
    "first", "second", "third", "fourth",
)  # fmt: skip
COLOUR = {name: f"#0b0c{number:02x}" for number, name in enumerate(NAMES, start=16)}
BACK = {colour: f"var(--{name})" for name, colour in COLOUR.items()}

FAULTS = {
    "kill": "#d1495b", "pause": "#e0a030", "restart": "#c05780", "partition": "#00798c", "blackhole": "#30638e",
    "latency": "#66a182", "bandwidth": "#7a9e3f", "reset": "#8d6a9f", "slow-reader": "#a1683a",
    "disk-full": "#7f5539", "flood": "#5f6caf", "storm": "#d97b29",
}  # fmt: skip
"""The colour of each fault, the same in every report."""

WIDTH_IN = 10.2
MARK_POINTS = 4.4  # the width of a character of a step's name
RC: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": COLOUR["grid"],
    "axes.labelcolor": COLOUR["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.linewidth": 1.0,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": COLOUR["grid"],
    "grid.linewidth": 0.8,
    "xtick.color": COLOUR["grid"],
    "ytick.color": COLOUR["grid"],
    "xtick.labelcolor": COLOUR["muted"],
    "ytick.labelcolor": COLOUR["muted"],
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "text.color": COLOUR["ink"],
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def fault_colour(name: str) -> str:
    """The colour of a fault; one that is not listed keeps the same one, too."""
    for known, colour in FAULTS.items():
        if known in name:
            return colour
    palette = list(FAULTS.values())
    return palette[crc32(name.encode()) % len(palette)]


@contextmanager
def axes(name: str, *, height: float, right: float = 0.88) -> Iterator[tuple[Axes, list[str]]]:
    """Axes to draw on, and a list that has the SVG afterwards. `right` leaves room for labels."""
    import matplotlib as mpl  # noqa: PLC0415 - half a second
    from matplotlib.figure import Figure  # noqa: PLC0415

    finished: list[str] = []
    settings: Any = {**RC, "svg.hashsalt": name}
    with mpl.rc_context(settings):
        figure = Figure(figsize=(WIDTH_IN, height))
        figure.subplots_adjust(left=0.065, right=right, top=1 - 0.1 / height, bottom=0.34 / height)
        yield figure.add_subplot(), finished
        finished.append(_svg(figure, name))


def _svg(figure: Figure, name: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r' id="[a-zA-Z0-9.]+_\d+"', "", text)
    text = re.sub(r"(<svg[^>]*?) width=\"[^\"]*\"", r"\1", text, count=1)
    text = re.sub(r"(<svg[^>]*?) height=\"[^\"]*\"", r"\1", text, count=1)
    for colour, variable in BACK.items():
        text = text.replace(colour, variable)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    text = re.sub(r"\n\s*", "\n", text)
    return text.replace("<svg", f'<svg role="img" data-plot="{name}"', 1)


def shade(on: Axes, faults: Sequence[Window], *, length: float) -> None:
    """Show when each fault was active."""
    for fault in faults:
        end = fault.end if fault.end is not None else length
        on.axvspan(fault.begin, end, color=fault_colour(fault.name), alpha=0.16, linewidth=0)


def mark(
    on: Axes, marks: Sequence[tuple[float, str]], *, length: float, named: bool = False
) -> None:
    """Show where a step began; if `named` with its name, where that ends before the next step."""
    ends = [at for at, _ in marks[1:]] + [length]
    for (at, text), end in zip(marks, ends, strict=False):
        on.axvline(at, color=COLOUR["muted"], linewidth=0.7, dashes=(2, 3), alpha=0.7)
        room = (end - at) / (length or 1.0) * on.get_position().width * WIDTH_IN * 72
        if named and len(text) * MARK_POINTS <= room:
            on.annotate(
                text, (at, 1), xycoords=("data", "axes fraction"), xytext=(3, -1), fontsize=8,
                textcoords="offset points", va="top", color=COLOUR["muted"], annotation_clip=True,
            )  # fmt: skip


def label_ends(on: Axes, ends: Sequence[tuple[float, str, str]], *, log: bool = False) -> None:
    """Write each curve's name at its right end instead of a legend; names keep their distance.

    `ends` are (y, name, colour).
    """
    low, high = on.get_ylim()
    place = (lambda y: log10(max(y, 1e-12))) if log else float
    span = (place(high) - place(low)) or 1.0
    gap = 13.0 / (
        on.get_window_extent().height * 72 / on.figure.dpi
    )  # points, in shares of the axis
    last = -1.0
    for y, name, colour in sorted(ends):
        share = max((place(y) - place(low)) / span, last + gap)
        last = share
        on.annotate(
            name, (1, min(share, 1.2)), xycoords="axes fraction", xytext=(8, 0), fontsize=10,
            textcoords="offset points", va="center", color=colour, annotation_clip=False,
        )  # fmt: skip


def log_ticks(on: Axes) -> None:
    """Ticks of the vertical axis that people can read: 1, 10, 100, and 2 and 5 between if there is room."""
    from matplotlib.ticker import FixedLocator, NullLocator  # noqa: PLC0415

    low, high = on.get_ylim()
    decades = log10(high / low)
    steps = (
        (1,) if decades > 2.2 else (1, 2, 5) if decades > 0.6 else (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
    )
    ticks = [step * 10.0**power for power in range(-4, 8) for step in steps]
    on.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    on.yaxis.set_minor_locator(NullLocator())


def plain_number(value: float, _: object = None) -> str:
    """1,500 and 0.25 rather than 1.5e3: for the ticks of an axis."""
    if value and abs(value) < 1:
        return f"{value:.3g}"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"
