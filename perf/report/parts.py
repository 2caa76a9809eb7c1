"""The foldable parts of a page, in their order; a part that has nothing to show is left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from perf.report import panels
from perf.report.material import Material, Window
from perf.report.plots import heat, spectrum, timeline
from perf.report.plots.canvas import fault_colour
from perf.report.plots.timeline import Panel
from perf.report.rows import summary
from perf.report.wording import named, number, plain

HEAT_MAPS = 2
LATENCY_LIMIT_MS = 50.0  # T2; the line on plots of latencies between devices
TABLES = {
    "database_statements": "Statements",
    "server_statements": "Statements",
    "costs": "Cost of a message",
}
ELSEWHERE = {"checked", *TABLES}


@dataclass(kw_only=True)
class Plot:
    """A plot with its title."""

    title: str
    note: str
    svg: Any


@dataclass(kw_only=True)
class Table:
    """A table: its head, its rows as text, and which columns are numbers."""

    head: list[str]
    rows: list[list[str]]
    numeric: list[bool]
    title: str = ""
    note: str = ""


@dataclass(kw_only=True)
class Part:
    """One foldable part."""

    title: str
    note: str = ""
    open: bool = False
    plots: list[Plot] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    faults: list[dict[str, str]] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it."""
        return not (self.plots or self.tables or self.facts)


def all_parts(material: Material) -> list[Part]:
    """Every part that has something to show."""
    result = material.result or {}
    found = [
        _runs(result),
        _latency(material, result),
        _load(material, result),
        _over_time("Resources over time", "who used what", panels.RESOURCES, material),
        _over_time("PostgreSQL and Valkey", "second by second", panels.SERVICES, material),
        _costs(result),
        _coverage(result),
        _ledger(result),
        _figures(result),
        _environment(material),
    ]
    return [part for part in found if not part.empty]


def _runs(result: Mapping[str, Any]) -> Part:
    part = Part(title="Runs", note="one report each", open=True)
    runs = [summary(one) for one in result.get("runs") or []]
    if runs:
        part.tables.append(table(runs))
    return part


def _latency(material: Material, result: Mapping[str, Any]) -> Part:
    part = Part(title="Latency", note="from the intended moment of each send", open=True)
    part.faults = [_fault(one) for one in material.faults]
    spectra = result.get("spectra") or {}
    _add(
        part,
        "Percentile spectrum",
        "dashed: uncorrected, from the moment it was really sent",
        spectrum.draw(spectra, limit_ms=LATENCY_LIMIT_MS),
    )
    for what in heat.names(material)[:HEAT_MAPS]:
        _add(
            part,
            f"{what.capitalize()}: heat map",
            "how many took how long, each second",
            heat.draw(what, material),
        )
        panel = panels.latency(what)
        _add(part, panel.title, panel.unit, timeline.draw(panel, material))
    return part


def _load(material: Material, result: Mapping[str, Any]) -> Part:
    part = _over_time("Load", "asked for against achieved", panels.LOAD, material)
    part.open = True
    steps = result.get("steps") or []
    svg = spectrum.against_load(steps, limit_ms=LATENCY_LIMIT_MS)
    _add(part, "Latency against load", "99th percentile of each step", svg)
    if steps:
        part.tables.append(table(steps, title="Steps"))
    return part


def _over_time(title: str, note: str, among: Iterable[Panel], material: Material) -> Part:
    part = Part(title=title, note=note, faults=[_fault(one) for one in material.faults])
    for panel in among:
        svg = timeline.draw(panel, material, named_marks=not part.plots)
        _add(part, panel.title, panel.unit, svg)
    return part


def _costs(result: Mapping[str, Any]) -> Part:
    part = Part(
        title="Cost of a message", note="counted, not timed: it hardly differs from run to run"
    )
    figures = result.get("figures") or {}
    for name, title in TABLES.items():
        if figures.get(name):
            part.tables.append(table(figures[name], title=title))
    return part


def _coverage(result: Mapping[str, Any]) -> Part:
    part = Part(title="Coverage", note="how often each property was really tested")
    found = result.get("coverage") or []
    if found:
        rows = [
            [
                one["name"],
                one["kind"],
                number(one["checked"]),
                number(one["held"]),
                one.get("witness", ""),
            ]
            for one in found
        ]
        head = ["property", "must hold", "checked", "held", "first witness"]
        part.tables.append(Table(head=head, rows=rows, numeric=[False, False, True, True, False]))
    return part


def _ledger(result: Mapping[str, Any]) -> Part:
    part = Part(title="Ledger and liveness", note="what went in must have come out")
    figures = result.get("figures") or {}
    for source in (result.get("ledger"), figures.get("ledger"), result.get("liveness")):
        part.facts += [
            (name.replace("_", " "), plain(value)) for name, value in (source or {}).items()
        ]
    return part


def _figures(result: Mapping[str, Any]) -> Part:
    part = Part(title="All figures")
    latency = {f"latency {name}": value for name, value in (result.get("latency_ms") or {}).items()}
    part.facts = [(name, number(value) if name.endswith("count") else f"{number(value)} ms")
                  for name, value in latency.items() if value is not None]  # fmt: skip
    merged = bool(result.get("runs"))  # then each run has figures of its own
    for name, value in ({} if merged else result.get("figures") or {}).items():
        if name in ELSEWHERE or name == "ledger" or value in (None, {}, []):
            continue
        label, unit = named(name)
        if isinstance(value, list) and isinstance(value[0], Mapping):
            part.tables.append(table(value, title=label))
        else:
            part.facts.append((label, f"{plain(value)} {unit}".strip()))
    for name, value in (result.get("resources") or {}).items():
        part.facts.append((name, plain(value)))
    return part


def _environment(material: Material) -> Part:
    part = Part(title="Environment and plan", note="what the figures depend on")
    part.facts = [
        (name.replace("_", " "), plain(value)) for name, value in material.environment.items()
    ]
    known = {"command", "title", "scenario"}
    part.facts += [
        (f"plan: {name.replace('_', ' ')}", plain(value))
        for name, value in material.plan.items()
        if name not in known and not isinstance(value, list | dict)
    ]
    return part


def table(found: Sequence[Mapping[str, Any]], *, title: str = "", note: str = "") -> Table:
    """A table of dictionaries; a column of numbers is aligned as such."""
    names = list(dict.fromkeys(name for one in found for name in one))
    numeric = [
        all(isinstance(one.get(name), int | float | None) for one in found) for name in names
    ]
    rows = [[plain(one.get(name)) for name in names] for one in found]
    head = [" ".join(filter(None, named(name))) for name in names]
    return Table(head=head, rows=rows, numeric=numeric, title=title, note=note)


def _fault(one: Window) -> dict[str, str]:
    upto = f"{one.end:.1f} s" if one.end is not None else "the end"
    felt = "; ".join(
        f"{name.replace('_', ' ')} {number(value)}" for name, value in one.effect.items()
    )
    where = f" ({one.target})" if one.target else ""
    text = f"{one.name}{where} {one.begin:.1f} s to {upto}" + (f": {felt}" if felt else "")
    return {"colour": fault_colour(one.name), "text": text}


def _add(part: Part, title: str, note: str, svg: str | None) -> None:
    from markupsafe import Markup  # noqa: PLC0415

    if svg is not None:
        part.plots.append(Plot(title=title, note=note, svg=Markup(svg)))  # noqa: S704 - drawn here
