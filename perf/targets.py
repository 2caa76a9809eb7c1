"""Every figure that the requirements name, as data: limits fail a run, goals are only shown."""

from __future__ import annotations

from typing import Literal

import msgspec


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One required figure. `better` says on which side of the limit it must be."""

    key: str
    name: str
    unit: str
    limit: float
    goal: float
    better: Literal["below", "at_most", "above", "at_least"] = "below"

    def meets(self, measured: float, bound: float) -> bool:
        """Whether `measured` is on the right side of `bound`."""
        match self.better:
            case "below":
                return measured < bound
            case "at_most":
                return measured <= bound
            case "above":
                return measured > bound
            case "at_least":
                return measured >= bound


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A target beside what was measured; `passed` is None without a measurement."""

    name: str
    unit: str
    limit: float
    goal: float
    measured: float | None
    passed: bool | None
    source: str
    reached: bool | None = None


TABLE = {
    target.key: target
    for target in (
        Target(key="T1", name="WebSocket connection time, hello included (p99)", unit="ms", limit=100, goal=10),
        Target(key="T2", name="delivery latency, send to the other device (p99)", unit="ms", limit=50, goal=5),
        Target(key="T3", name="database response time (p99)", unit="ms", limit=100, goal=5),
        Target(key="T4", name="database response time under load (p99)", unit="ms", limit=200, goal=20),
        Target(key="T5", name="message flow, send to read receipt (p99)", unit="ms", limit=500, goal=15),
        Target(key="T6.live", name="cross-device synchronisation, live (p99)", unit="ms", limit=1000, goal=20),
        Target(key="T6.resume", name="cross-device synchronisation, after reconnect (max)", unit="ms", limit=1000, goal=100),
        Target(key="T6.badge", name="cross-device synchronisation, read here clears the badge there (p99)", unit="ms", limit=1000, goal=100),
        Target(key="T6.file", name="cross-device synchronisation, a file of 1 MB fetched (p99)", unit="ms", limit=1000, goal=100),
        Target(key="T7", name="connection success rate", unit="%", limit=99, goal=100, better="above"),
        Target(key="T8", name="message delivery success rate", unit="%", limit=99.9, goal=100, better="above"),
        Target(key="T9", name="server uptime during the run", unit="%", limit=100, goal=100, better="at_least"),
        Target(key="T9.soak", name="server uptime during a soak", unit="%", limit=99.9, goal=100, better="at_least"),
        Target(key="T10", name="data consistency", unit="%", limit=99.9, goal=100, better="above"),
        Target(key="T11", name="recovery after any failure", unit="s", limit=30, goal=2),
        Target(key="T12.few", name="concurrent connections, in a short run", unit="", limit=100, goal=200, better="at_least"),
        Target(key="T12", name="concurrent connections", unit="", limit=1_000, goal=10_000, better="at_least"),
        Target(key="T13.durable", name="durable messages", unit="1/s", limit=1_000, goal=28_000, better="at_least"),
        Target(key="T13.delivered", name="deliveries", unit="1/s", limit=5_000, goal=280_000, better="at_least"),
        Target(key="T14", name="server memory at 100 connections", unit="MB", limit=512, goal=150),
        Target(key="T15", name="server memory under load", unit="MB", limit=2_048, goal=300),
        Target(key="T16", name="server CPU under normal load", unit="% of a core", limit=50, goal=10),
        Target(key="T17", name="signals of the server that leak", unit="", limit=0, goal=0, better="at_most"),
        Target(key="T18", name="recovery from overload", unit="s", limit=30, goal=2),
        Target(key="T21.shown", name="online, away and text, shown to the others (p99)", unit="ms", limit=50, goal=20),
        Target(key="T21.offline", name="offline, shown to the others, beyond the 2 s that are waited (p99)", unit="ms", limit=50, goal=20),
        Target(key="T21.killed", name="offline, shown to the others after kill -9 of their server (max)", unit="s", limit=10, goal=8),
        Target(key="G10", name="memory that 1,000 stalled readers add", unit="MB", limit=100, goal=90),
        Target(key="E1", name="devices that end with exactly what the database has", unit="%", limit=100, goal=100, better="at_least"),
        Target(key="E2", name="drift of the median delivery latency from the first day to the last, at least", unit="%", limit=50, goal=10),
        Target(key="V1", name="planted bad histories convicted by their name", unit="%", limit=100, goal=100, better="at_least"),
        Target(key="V2", name="good histories acquitted", unit="%", limit=100, goal=100, better="at_least"),
        Target(key="V3", name="sabotaged servers convicted by their name", unit="%", limit=100, goal=100, better="at_least"),
        Target(key="V5", name="a server that signs nobody off convicted of ghosts", unit="%", limit=100, goal=100, better="at_least"),
        Target(key="V4", name="whole server acquitted", unit="%", limit=100, goal=100, better="at_least"),
    )
}  # fmt: skip


def outcome(key: str, measured: float | None, *, source: str) -> Outcome:
    """Hold a measurement against its target. A goal of 100 % is reached by 100 %."""
    target = TABLE[key]
    known = measured is not None
    at_goal = {"above": "at_least"}.get(target.better, target.better)
    goal = msgspec.structs.replace(target, better=at_goal)
    return Outcome(
        name=f"{key.partition('.')[0]} {target.name}",
        unit=target.unit,
        limit=target.limit,
        goal=target.goal,
        measured=round(measured, 3) if measured is not None else None,
        passed=target.meets(measured, target.limit) if measured is not None else None,
        reached=goal.meets(measured, target.goal) if known and measured is not None else None,
        source=source,
    )
