"""What a soak remembers of its days: sums, a few figures of each, and the quiet server after each.

Laws: a day costs some hundred bytes, so that thousands fit; what is shown is thinned out; and what was
wrong is never thinned out, up to a number of examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from perf.checkers import Judgement
from perf.measure import quiet
from perf.measure.latency import Latency
from perf.measure.quiet import Sample
from perf.measure.statistics import SETTLING, Work
from perf.scenarios.parts import verdicts
from perf.scenarios.parts.shelves import Compared
from perf.scenarios.parts.shifts import Shift

ROWS = 200  # of the table of days
EXAMPLES = 8
# Pools open what they need, and close it after ten minutes without need: up to 8 connections to PostgreSQL and
# 4 to Valkey, and 6 threads. Whatever leaks is beyond this within a few days.
ROOM = {"backends": 8, "sockets": 12, "descriptors": 12, "threads": 6}


@dataclass(kw_only=True)
class Ledger:
    """All days so far."""

    judgement: Judgement = field(default_factory=Judgement)
    live: Latency = field(default_factory=Latency)
    samples: list[Sample] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    devices: int = 0
    equal: int = 0
    compared_messages: int = 0
    differences: list[str] = field(default_factory=list)
    asked: int = 0
    answered: int = 0
    doubted: int = 0  # not answered in time, on days when the generator itself was late
    opened: int = 0
    failures: int = 0
    connections: int = 0
    messages: int = 0
    back_s: float | None = None  # the slowest
    deploys: int = 0
    problems: list[str] = field(default_factory=list)
    bad_days: int = 0

    @property
    def days(self) -> int:
        """How many were worked and judged."""
        return len(self.samples)

    @property
    def work(self) -> Work:
        """What a day does to the first server, on average."""
        days = max(self.days, 1)
        return Work(connections=self.connections // days, messages=self.messages // days)

    @property
    def like(self) -> Mapping[str, int] | None:
        """What the quiet server may have at most: the most that it had after one of the first days, and ROOM."""
        first = self.samples[:SETTLING]
        if len(first) < SETTLING:
            return None
        return {
            name: max(one.exact[name] for one in first) + ROOM.get(name, 0) for name in quiet.EXACT
        }

    @property
    def compared(self) -> Compared:
        """All devices of all days."""
        return Compared(
            devices=self.devices,
            equal=self.equal,
            messages=self.compared_messages,
            differences=tuple(self.differences),
        )

    def add(self, shift: Shift, sample: Sample, **more: Any) -> None:
        """A day is over and judged; `more` are figures for its row."""
        name = f"day {shift.number}"
        left = self._left(sample)
        troubles = [*shift.problems, *([f"in the night there were {left} more than after the first days"] if left else [])]  # fmt: skip
        self.problems += [f"{name}: {one}" for one in troubles][: EXAMPLES - len(self.problems)]
        self.bad_days += bool(troubles or shift.bad)
        verdicts.add(self.judgement, name, shift.judgement)
        self._sum(shift, name)
        if (
            len(self.samples) > SETTLING
        ):  # the types of the first quiet one and of the last name a leak
            self.samples[-1] = _light(self.samples[-1])
        self.samples.append(sample)
        self.rows.append(_row(shift, sample, left) | more)

    def fail(self, number: int, error: BaseException) -> None:
        """A day could not be lived to its end."""
        while isinstance(error, BaseExceptionGroup):  # of what went on side by side
            error = error.exceptions[0]
        self.bad_days += 1
        said = str(error).partition("\n")[0] or type(error).__name__
        self.problems = [
            *self.problems[: EXAMPLES - 1],
            f"day {number} was not lived to its end: {said}",
        ]

    def _sum(self, shift: Shift, name: str) -> None:
        one = shift.compared
        self.devices, self.equal = self.devices + one.devices, self.equal + one.equal
        self.compared_messages += one.messages
        self.differences += [f"{name}: {text}" for text in one.differences][: EXAMPLES - len(self.differences)]  # fmt: skip
        self.live.merge(shift.live)
        self.p50_ms.append(shift.live.percentile(50) or 0.0)
        self.p99_ms.append(shift.live.percentile(99) or 0.0)
        self.asked, self.answered = self.asked + shift.asked, self.answered + shift.answered
        self.doubted += shift.asked - shift.answered if shift.doubt else 0
        self.opened, self.failures = self.opened + shift.opened, self.failures + shift.failures
        self.connections += shift.connections
        self.messages += shift.messages
        self.deploys += len(shift.back_s)
        self.back_s = max([*shift.back_s, *([] if self.back_s is None else [self.back_s])], default=None)  # fmt: skip

    def _left(self, sample: Sample) -> str:
        """What was there in the quiet that had not been in the first ones; once those are known."""
        like = self.like
        if like is None:
            return ""
        more = {name: sample.exact[name] - most for name, most in like.items()}
        return ", ".join(f"{count} {name}" for name, count in more.items() if count > 0)

    def table(self) -> list[dict[str, Any]]:
        """At most ROWS days: as many in even steps, and those on which something was wrong."""
        step = -(-len(self.rows) // ROWS)
        return [
            row
            for at, row in enumerate(self.rows)
            if at % step == 0 or at == len(self.rows) - 1 or row["wrong"]
        ][: 2 * ROWS]


def _light(sample: Sample) -> Sample:
    """Without the list of types, which is most of it."""
    inside = msgspec.structs.replace(sample.inside, types={})
    return Sample(exact=sample.exact, inside=inside, uss=sample.uss, rss=sample.rss)


def _row(shift: Shift, sample: Sample, left: str) -> dict[str, Any]:
    return {
        "day": shift.number,
        "messages": shift.messages,
        "deliveries": shift.judgement.deliveries,
        "anomalies": shift.judgement.anomalies,
        "wrong": int(bool(shift.bad or left)),
        "p50_ms": shift.live.percentile(50),
        "p99_ms": shift.live.percentile(99),
        "server_uss_mb": round(sample.uss / 2**20, 2),
        "blocks": sample.inside.blocks,
        "descriptors": sample.exact["descriptors"],
        "tasks": sample.exact["tasks"],
        "backends": sample.exact["backends"],
    }
