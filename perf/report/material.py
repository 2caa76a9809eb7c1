"""Everything that is known of a run, read back from its directory: also when it was cut off.

Nothing here needs the run to have ended: what is missing is empty, and without a result the run
counts as aborted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from perf.history.events import Fault, RunBegan
from perf.history.rundir import RunDirectory
from perf.measure import series
from perf.measure.series import Line

FAULT, RUN = b'["fault"', b'["run"'  # how their lines begin


@dataclass(frozen=True, kw_only=True)
class Window:
    """A fault's time, in s since the run's first line; `end` is None if it was never healed."""

    name: str
    target: str
    begin: float
    end: float | None
    effect: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Material:
    """A run as its directory has it. `result` is None if the run did not come to its end."""

    directory: RunDirectory
    result: Mapping[str, Any] | None
    plan: Mapping[str, Any]
    environment: Mapping[str, Any]
    lines: list[Line]
    faults: list[Window]
    began_ns: int

    @property
    def aborted(self) -> bool:
        """Whether there is no result."""
        return self.result is None

    def said(self, name: str, default: Any = None) -> Any:
        """What the result says, else the plan."""
        for place in (self.result or {}, self.plan):
            if place.get(name) is not None:
                return place[name]
        return default

    def at(self, t: int) -> float:
        """Seconds since the beginning."""
        return (t - self.began_ns) / 1e9

    @property
    def length_s(self) -> float:
        """How long the series goes."""
        return max(self.at(int(self.lines[-1]["t"])), 1.0) if self.lines else 0.0


def load(directory: RunDirectory) -> Material:
    """Read a run. Files that are missing or cut off count as empty."""
    lines = series.load(directory.series)
    events = list(_events(directory.history))
    moments = [int(line["t"]) for line in lines[:1]] + [event.t for event in events]
    began = min(moments, default=0)
    first = next((event for event in events if isinstance(event, RunBegan)), None)
    plan = _document(directory.plan)
    if first is not None:
        plan = {"scenario": first.scenario, "seed": first.seed, **plan}
    return Material(
        directory=directory,
        result=_document(directory.result) or None,
        plan=plan,
        environment=_document(directory.environment),
        lines=lines,
        faults=_windows([event for event in events if isinstance(event, Fault)], began),
        began_ns=began,
    )


def _document(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        return {}


def _events(directory: Path) -> Iterator[Fault | RunBegan]:
    """Faults and beginnings; every other line is passed over unread."""
    decoder = msgspec.json.Decoder(Fault | RunBegan)
    for path in sorted(directory.glob("*.jsonl")):
        with path.open("rb") as file:
            for line in file:
                if line.startswith((FAULT, RUN)):
                    try:
                        yield decoder.decode(line)
                    except msgspec.DecodeError:
                        continue


def _windows(events: Iterable[Fault], began: int) -> list[Window]:
    """One window for each beginning, with what was felt of it."""
    found: list[Window] = []
    ordered = sorted(events, key=lambda event: event.t)
    for place, event in enumerate(ordered):
        if event.phase != "begin":
            continue
        same = [
            one
            for one in ordered[place + 1 :]
            if (one.name, one.target) == (event.name, event.target)
        ]
        upto = next((i for i, one in enumerate(same) if one.phase in {"begin", "end"}), len(same))
        closing = same[upto] if upto < len(same) and same[upto].phase == "end" else None
        effect: dict[str, float] = dict(event.effect)
        for one in [*same[:upto], *([closing] if closing else [])]:
            effect |= one.effect
        found.append(
            Window(
                name=event.name,
                target=event.target,
                begin=(event.t - began) / 1e9,
                end=(closing.t - began) / 1e9 if closing else None,
                effect=effect,
            )
        )
    return found
