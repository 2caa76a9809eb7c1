"""A result for the terminal: the verdict first, then targets, guarantees, totals, and how to repeat it.

Colour only where a person looks (a terminal, NO_COLOR not set); the words are the same everywhere.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from perf.coverage import Covered
from perf.report.rows import summary
from perf.report.wording import TICKS, WORDS, duration, named, number, plain, sign_of
from perf.scenario import Result, Verdict
from perf.targets import Outcome

BUSY_PERCENT = 25  # of a core, taken by processes that are not part of the run
GREEN, RED, YELLOW = "32", "31", "33"
TONES: dict[Verdict | bool | None, str] = {
    "valid": GREEN, True: GREEN, "invalid": RED, False: RED, "unknown": YELLOW, None: YELLOW,
}  # fmt: skip
CELL = 48  # columns of a cell: statements are long
WIDTH = 100  # columns of running text
LEFT = (0, 1, 5)  # columns of the targets that are text: mark, name, goal


def text(result: Result, *, colour: bool | None = None) -> str:
    """The report of a run. `colour` None: if this process writes to a terminal."""
    paint = _Paint(
        on=sys.stdout.isatty() and "NO_COLOR" not in os.environ if colour is None else colour
    )
    return "\n".join(_lines(result, paint)) + "\n"


class _Paint:
    """Colours text, or leaves it."""

    def __init__(self, *, on: bool) -> None:
        self._on = on

    def __call__(self, text: str, *, tone: Verdict | bool | None) -> str:
        return f"\x1b[{TONES[tone]}m{text}\x1b[0m" if self._on else text

    def strong(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self._on else text


def _lines(result: Result, paint: _Paint) -> Iterator[str]:
    verdict = paint(result.verdict.upper(), tone=result.verdict)
    yield f"{result.scenario}: {verdict}: {WORDS[result.verdict]}"
    yield from (f"  {problem}" for problem in result.problems)
    yield from _targets(result, paint)
    yield from _guarantees(result, paint)
    yield from _totals(result, paint)
    yield ""
    if result.directory:
        yield f"report: {result.directory}/report.html"
    yield f"{duration(result.duration_s)} in all; once more: {result.command}"


def _targets(result: Result, paint: _Paint) -> Iterator[str]:
    if not result.targets:
        return
    yield ""
    yield paint.strong("TARGETS")
    rows = [("", "", "measured", "limit", "goal", ""), *(_row(one) for one in result.targets)]
    marks: list[bool | None] = [one.passed for one in result.targets]
    for line, passed in zip(_table(rows, left=LEFT), [None, *marks], strict=True):
        mark, rest = line[:1], line[1:]
        yield f"  {paint(mark, tone=passed) if mark.strip() else mark}{rest}"


def _row(outcome: Outcome) -> tuple[str, ...]:
    measured = "no sample" if outcome.measured is None else number(outcome.measured)
    return (
        TICKS[outcome.passed],
        f"{outcome.name} [{outcome.unit}]",
        measured,
        f"{sign_of(outcome.name)} {number(outcome.limit)}",
        number(outcome.goal),
        "goal" if outcome.reached else "",
    )


def _table(rows: Sequence[Sequence[str]], *, left: Collection[int]) -> Iterator[str]:
    """Aligned lines; the columns `left` are text, the others numbers."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _guarantees(result: Result, paint: _Paint) -> Iterator[str]:
    checked = result.figures.get("checked") or {}
    if not (any(checked.values()) or any(result.anomalies.values()) or result.coverage):
        return
    yield ""
    looked = ", ".join(f"{count:,} {name}" for name, count in checked.items())
    yield paint.strong("GUARANTEES") + (f"  judged: {looked}" if any(checked.values()) else "")
    found = {name: count for name, count in result.anomalies.items() if count}
    for name, count in found.items():
        yield f"  {paint(TICKS[False], tone=False)}  {name}: {count:,}"
        yield from (
            f"       {line}" for one in result.witnesses.get(name, []) for line in one.splitlines()
        )
    yield from (f"  {_covered(one, paint)}" for one in result.coverage if not one.met)
    met = [one for one in result.coverage if one.met]
    for title, names in (
        (
            "none of these, in so many checks",
            [f"{one.name} {one.checked:,}" for one in met if one.name in result.anomalies],
        ),
        (
            "held",
            [
                f"{one.name} {one.checked:,}"
                for one in met
                if one.name not in result.anomalies and one.kind == "always"
            ],
        ),
        ("came by", [one.name for one in met if one.kind == "sometimes"]),
        (
            "none found",
            [] if met or not any(checked.values()) else sorted(set(result.anomalies) - set(found)),
        ),
    ):
        if names:
            yield from _wrapped(paint(TICKS[True], tone=True), title, names)


def _wrapped(mark: str, title: str, words: Sequence[str]) -> Iterator[str]:
    lines = textwrap.wrap(f"{title}: {', '.join(words)}", width=WIDTH)
    yield f"  {mark}  {lines[0]}"
    yield from (f"     {line}" for line in lines[1:])


def _covered(one: Covered, paint: _Paint) -> str:
    mark = paint(TICKS[one.met], tone=one.met)
    return f"{mark}  {one.name}: {one.held:,} of {one.checked:,} ({one.kind})"


def _totals(result: Result, paint: _Paint) -> Iterator[str]:
    yield ""
    if result.runs:
        yield paint.strong("RUNS")
        yield from (f"  {line}" for line in _runs(result.runs))
        return
    yield paint.strong("TOTALS")
    latency = {name: value for name, value in result.latency_ms.items() if value is not None}
    if latency.get("count"):
        count = latency.pop("count")
        pairs = ", ".join(f"{name} {number(value)} ms" for name, value in latency.items())
        yield f"  latency: {pairs}, count {number(count)}"
    for name, usage in result.resources.items():
        yield f"  {name}: {plain(usage)}"
    for name, value in result.figures.items():
        if name != "checked" and value not in (None, {}, []):
            yield from (f"  {line}" for line in _figure(name, value))
    if result.steps:
        yield from (f"  {line}" for line in _figure("steps", result.steps))
    if result.limiting:
        yield f"  {result.limiting}"
    others = result.figures.get("other_processes_cpu_percent") or 0
    if others > BUSY_PERCENT:
        yield f"  note: other processes took {others:.0f} % of a core meanwhile: measure again when they rest"


def _runs(runs: Sequence[Result]) -> Iterator[str]:
    rows = [summary(msgspec.to_builtins(one)) for one in runs]
    names = list(rows[0])
    yield from _table(
        [names, *([row[name] for name in names] for row in rows)], left=range(len(names))
    )


def _figure(name: str, value: Any) -> Iterator[str]:
    label, unit = named(name)
    if isinstance(value, list) and isinstance(value[0], dict):
        yield f"{label}:"
        names = list(dict.fromkeys(name for one in value for name in one))
        rows = [[plain(one.get(name))[:CELL] for name in names] for one in value]
        left = {i for i, name in enumerate(names) if isinstance(value[0].get(name), str)}
        table = _table([[_title(name) for name in names], *rows], left=left)
        yield from (f"  {line}" for line in table)
    else:
        yield f"{label}: {plain(value)} {unit}".rstrip()


def _title(name: str) -> str:
    return " ".join(filter(None, named(name)))
