"""What a crew and its workers say to each other: one JSON line per order, one or more per answer.

Moments are seconds of `clock`, which all processes of a machine share.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from perf.load.plan import Gaps, Mix, Phase
from perf.measure.latency import Packed
from perf.rig.accounts import Account


class Order(msgspec.Struct, frozen=True, kw_only=True, tag_field="order"):
    """Asks a worker for something."""


class Begin(Order, frozen=True, kw_only=True, tag="begin"):
    """Who the worker is; the first order. `history` is the path of its own file."""

    url: str
    history: str
    run: str
    scenario: str
    seed: int
    worker: int
    full: bool
    reads: bool


class Connect(Order, frozen=True, kw_only=True, tag="connect"):
    """Connect these accounts, `rate` a second (None: a few at a time), from this local address."""

    accounts: list[Account]
    starts: dict[str, int]
    rate: float | None = None
    source: str | None = None


class Work(Order, frozen=True, kw_only=True, tag="work"):
    """Carry out the part of a plan that is for devices `first` and following, and wait for the answers."""

    seed: int
    phases: list[Phase]
    mix: Mix
    gaps: Gaps
    devices: int
    first: int
    begun: float
    count_from: float
    settle_s: float


class Look(Order, frozen=True, kw_only=True, tag="look"):
    """Say how it is."""


class Finish(Order, frozen=True, kw_only=True, tag="finish"):
    """End all sessions and the history; the last order."""


AnyOrder: TypeAlias = Begin | Connect | Work | Look | Finish


class Report(msgspec.Struct, frozen=True, kw_only=True, tag_field="report"):
    """A worker's word."""


class Done(Report, frozen=True, kw_only=True, tag="done"):
    """An order was carried out."""


class Tick(Report, frozen=True, kw_only=True, tag="tick"):
    """Twice a second, unasked: what was counted since the last one, and the greatest of what is watched."""

    counts: dict[str, float]
    worst: dict[str, float]


class Connected(Report, frozen=True, kw_only=True, tag="connected"):
    """Answers `Connect`. `seconds` that each opened session took."""

    devices: int
    seconds: list[float]
    failures: list[str]


class Worked(Report, frozen=True, kw_only=True, tag="worked"):
    """Answers `Work`: the latencies of what was counted, and what went wrong."""

    delivery: Packed
    uncorrected: Packed
    answer: Packed
    lateness: Packed
    lag: Packed
    cpu_percent: float
    asked: int
    stored: int
    skipped: int
    refusals: dict[str, int]
    closures: list[int]
    declined: int
    unsettled: int


class State(Report, frozen=True, kw_only=True, tag="state"):
    """Answers `Look`."""

    online: int
    pending: int
    behind: int
    closures: int
    cpu_s: float
    rss_mb: float


class Failed(Report, frozen=True, kw_only=True, tag="failed"):
    """The order could not be carried out."""

    reason: str


AnyReport: TypeAlias = Done | Tick | Connected | Worked | State | Failed
