"""The heat map: how many took how long, second by second. What a percentile hides, it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perf.measure.series import BUCKETS_US
from perf.report.material import Material
from perf.report.plots.canvas import COLOUR, axes, mark, shade
from perf.report.plots.timeline import marks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT_IN = 2.7
COLUMNS = 240  # at most, however long the run
COLUMNS_PER_S = 4
LEAST_S = 0.5  # the last line may follow at once
HUE = (0.165, 0.40, 0.82)  # one hue; how many is its opacity, so it works on light and dark
TICKS_MS = tuple(step * 10.0**power for power in range(-1, 5) for step in (1, 2, 5))
MANY_ROWS = 36  # buckets: beyond, only the powers of ten are named


def names(material: Material) -> list[str]:
    """What was timed, the most often timed first."""
    totals: dict[str, float] = {}
    for line in material.lines:
        for name, value in line.items():
            if name.startswith("latency.") and name.endswith(".count"):
                what = name.removeprefix("latency.").removesuffix(".count")
                totals[what] = totals.get(what, 0) + value
    return sorted(totals, key=lambda what: -totals[what])


def draw(what: str, material: Material) -> str | None:
    """The SVG of one kind of latency; None without any."""
    import numpy as np  # noqa: PLC0415

    counts = _counts(what, material)
    if not counts.any():
        return None
    used = np.flatnonzero(counts.sum(axis=1))
    low, high = max(int(used[0]) - 2, 0), min(int(used[-1]) + 3, len(BUCKETS_US))
    with axes(f"heat-{what}", height=HEIGHT_IN) as (on, finished):
        on.grid(visible=False)
        on.imshow(
            _picture(counts[low:high]), aspect="auto", origin="lower", interpolation="none",
            extent=(0, material.length_s, low, high),
        )  # fmt: skip
        shade(on, material.faults, length=material.length_s)
        mark(on, marks(material), length=material.length_s)
        _scale(on, low, high, material.length_s)
        _key(on, int(counts.max()))
    return finished[0]


def _counts(what: str, material: Material) -> Any:
    """A matrix of counts per second: buckets by columns of time. A line fills its time since the one before."""
    import numpy as np  # noqa: PLC0415

    columns = max(1, min(COLUMNS, round(material.length_s * COLUMNS_PER_S)))
    counts = np.zeros((len(BUCKETS_US), columns))
    places = {str(low): row for row, low in enumerate(BUCKETS_US)}
    before = 0.0
    for line in material.lines:
        at = material.at(int(line["t"]))
        first, last = (round(moment / material.length_s * columns) for moment in (before, at))
        for low, count in (line.get(f"latency.{what}.buckets") or {}).items():
            if low in places:
                counts[places[low], first : max(last, first + 1)] += count / max(
                    at - before, LEAST_S
                )
        before = at
    return counts


def _picture(counts: Any) -> Any:
    """Opacity by the logarithm of the count: single outliers stay visible beside thousands."""
    import numpy as np  # noqa: PLC0415

    strength = np.log1p(counts) / max(np.log1p(counts.max()), 1e-9)
    picture = np.empty((*counts.shape, 4))
    picture[..., :3] = HUE
    picture[..., 3] = np.where(counts > 0, 0.10 + 0.90 * strength, 0.0)
    return picture


def _scale(on: Axes, low: int, high: int, length: float) -> None:
    import numpy as np  # noqa: PLC0415
    from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: PLC0415

    rows = np.interp(
        np.log([ms * 1000 for ms in TICKS_MS]), np.log(BUCKETS_US), range(len(BUCKETS_US))
    )
    shown = [(row, ms) for row, ms in zip(rows, TICKS_MS, strict=True) if low <= row <= high]
    if high - low > MANY_ROWS:
        shown = [(row, ms) for row, ms in shown if f"{ms:e}".startswith("1.0")]
    on.set_yticks([row for row, _ in shown], [_time(ms) for _, ms in shown])
    on.set_xlim(0, length)
    on.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f} s"))
    on.xaxis.set_major_locator(MaxNLocator(10, integer=True))


def _time(ms: float) -> str:
    return f"{ms / 1000:g} s" if ms >= 1000 else f"{ms:g} ms"


def _key(on: Axes, most: int) -> None:
    """What the strongest and the faintest colour mean."""
    for share, text, alpha in ((0.95, f"{most:,} per s", 1.0), (0.84, "1", 0.15)):
        on.annotate(
            "■", (1, share), xycoords="axes fraction", xytext=(8, 0), textcoords="offset points", va="center",
            color=HUE, alpha=alpha, fontsize=13,
        )  # fmt: skip
        on.annotate(
            text, (1, share), xycoords="axes fraction", xytext=(24, 0), textcoords="offset points",
            va="center", color=COLOUR["muted"],
        )  # fmt: skip
