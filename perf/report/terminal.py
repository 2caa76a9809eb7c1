"""A result for people: the verdict first, then measured beside limit and goal, at last how to repeat it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from perf.scenario import Result, Verdict
from perf.targets import TABLE, Outcome

BUSY_PERCENT = 25  # of a core, taken by processes that are not part of the run
TICKS = {True: "✓", False: "✗", None: "?"}
WORDS: dict[Verdict, str] = {
    "valid": "VALID: every target and guarantee was measured and held",
    "invalid": "INVALID: a target or a guarantee failed",
    "unknown": "UNKNOWN: not everything could be measured",
}
SIGNS = {target.name: target.better for target in TABLE.values()}
COMPARED = {"below": "<", "at_most": "≤", "above": ">", "at_least": "≥"}


def text(result: Result) -> str:
    """The report of a run for a terminal."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: Result) -> Iterator[str]:
    yield f"{result.scenario}: {WORDS[result.verdict]}"
    yield from (f"  {problem}" for problem in result.problems)
    for name, witnesses in result.witnesses.items():
        yield from (f"  {name}: {witness}" for witness in witnesses)
    yield ""
    yield from _table(
        [("target", "measured", "limit", "goal", "", ""), *(_row(one) for one in result.targets)]
    )
    yield ""
    yield _anomalies(result)
    if result.latency_ms.get("count"):
        yield "latency    " + _pairs(result.latency_ms, unit=" ms")
    for name, usage in result.resources.items():
        yield f"{name:<10} {_pairs(usage)}"
    for name, value in result.figures.items():
        yield from _figure(name, value)
    others = result.figures.get("other_processes_cpu_percent") or 0
    if others > BUSY_PERCENT:
        yield f"note: other processes took {others:.0f} % of a core meanwhile: measure again when they rest"
    yield ""
    yield f"{result.duration_s:.0f} s in all; once more: {result.command}"


def _row(outcome: Outcome) -> tuple[str, ...]:
    sign = COMPARED[SIGNS.get(outcome.name.partition(" ")[2], "below")]
    measured = "no sample" if outcome.measured is None else _number(outcome.measured)
    return (
        f"{outcome.name} [{outcome.unit}]",
        measured,
        f"{sign} {_number(outcome.limit)}",
        _number(outcome.goal),
        TICKS[outcome.passed],
        "goal" if outcome.reached else "",
    )


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if index in (0, 5) else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _anomalies(result: Result) -> str:
    counts = ", ".join(f"{name} {count}" for name, count in result.anomalies.items())
    checked = result.figures.get("checked", {})
    looked = ", ".join(f"{count:,} {name}" for name, count in checked.items())
    if not any(checked.values()):
        return "anomalies  none looked for"
    return f"anomalies  {counts} (of {looked})"


def _figure(name: str, value: Any) -> Iterator[str]:
    title = name.replace("_", " ")
    if isinstance(value, list):
        if value:
            yield f"{title}:"
            yield from (f"  {_pairs(one)}" for one in value)
    elif isinstance(value, dict):
        if value and name != "checked":
            yield f"{title:<10} {_pairs(value)}"
    elif value is not None:
        yield f"{title}: {_number(value)}"


def _pairs(facts: dict[str, Any], *, unit: str = "") -> str:
    return ", ".join(_pair(facts.items(), unit=unit))


def _pair(items: Iterable[tuple[str, Any]], *, unit: str) -> Iterator[str]:
    for name, value in items:
        if value is not None:
            yield f"{name} {_number(value)}{'' if name == 'count' else unit}"


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
