"""A fleet in several processes, for more devices than the file limit of one allows.

It does what `stress connections` asks of a `Fleet`: connect, hold, an open loop, settle, go home. Each
worker has whole conversations, so that what a device sends comes back within its process. The
workers write histories of their own; the reader merges them.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from perf.history.recorder import Recorder
from perf.history.rundir import RunDirectory
from perf.history.testimony import clock
from perf.load import probe
from perf.load.orders import (
    AnyReport,
    Begin,
    Connect,
    Connected,
    Done,
    Failed,
    Finish,
    Look,
    Order,
    Report,
    State,
    Tick,
    Work,
    Worked,
)
from perf.load.plan import Gaps, Mix, Phase
from perf.measure.latency import Latency
from perf.measure.meter import Meter
from perf.rig import children
from perf.rig.accounts import Account
from perf.rig.children import RigError

R = TypeVar("R", bound=Report)

HEAD_START_S = 1.0  # for every worker to have made its part of the plan

_decode = msgspec.json.Decoder(AnyReport).decode
_encode = msgspec.json.Encoder().encode


def source_of(url: str, worker: int) -> str | None:
    """The local address of a worker (from 1), so that ports do not run out; None if it does not matter."""
    near = "127.0.0.1" in url or "localhost" in url
    return f"127.0.0.{worker + 1}" if near else None


def shares(accounts: Sequence[Account], workers: int) -> list[list[Account]]:
    """Deal the accounts out evenly, those with common conversations to the same worker."""
    groups: dict[str, list[Account]] = {}
    for account in accounts:
        groups.setdefault(min(account.conversations, default=account.device), []).append(account)
    dealt: list[list[Account]] = [[] for _ in range(workers)]
    for group in groups.values():
        min(dealt, key=len).extend(group)
    return dealt


@dataclass(kw_only=True)
class Hand:
    """One worker as the crew sees it."""

    child: asyncio.subprocess.Process
    accounts: list[Account]  # that it connects unless it is told of others
    log: Path
    meter: Meter
    devices: int = 0

    async def ask(self, order: Order, kind: type[R]) -> R:
        """Give an order and wait until it is done; ticks on the way are counted. Raises RigError."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(_encode(order) + b"\n")
        await self.child.stdin.drain()
        while line := await self.child.stdout.readline():
            report = _decode(line)
            if isinstance(report, Tick):
                self._count(report)
            elif isinstance(report, Failed):
                raise RigError(f"a worker of the load failed: {report.reason}")
            elif isinstance(report, kind):
                return report
        raise RigError(f"a worker of the load ended: {children.last_words(self.log)}")

    def _count(self, tick: Tick) -> None:
        for name, n in tick.counts.items():
            self.meter.count(name, n)
        for name, value in tick.worst.items():
            self.meter.worst(name, value)


@dataclass(kw_only=True)
class Load:
    """What came of an open loop of all workers together."""

    delivery: Latency = field(default_factory=Latency)
    uncorrected: Latency = field(default_factory=Latency)
    answer: Latency = field(default_factory=Latency)
    lateness: Latency = field(default_factory=Latency)
    lag: Latency = field(default_factory=Latency)
    parts: list[Worked] = field(default_factory=list)

    def add(self, part: Worked) -> None:
        """Add what one worker measured."""
        for name in ("delivery", "uncorrected", "answer", "lateness", "lag"):
            getattr(self, name).merge(Latency.unpacked(getattr(part, name)))
        self.parts.append(part)


@dataclass(kw_only=True)
class Crew:
    """The workers of a run."""

    url: str
    hands: list[Hand] = field(default_factory=list)
    connect_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def devices(self) -> int:
        """How many devices have a session, or had one."""
        return sum(hand.devices for hand in self.hands)

    async def connect(
        self,
        accounts: Sequence[Account] | None = None,
        *,
        starts: Mapping[str, int] | None = None,
        rate: float | None = None,
    ) -> None:
        """Connect these, or everyone, `rate` a second over all workers. Raises RigError."""
        given = [hand.accounts for hand in self.hands]
        dealt = given if accounts is None else shares(accounts, len(self.hands))
        total, work = max(sum(map(len, dealt)), 1), []
        for number, (hand, share) in enumerate(zip(self.hands, dealt, strict=True), 1):
            order = Connect(
                accounts=share,
                starts=_known(share, starts or {}),
                rate=None if rate is None else max(rate * len(share) / total, 0.1),
                source=source_of(self.url, number),
            )
            work.append(hand.ask(order, Connected))
        for hand, connected in zip(self.hands, await asyncio.gather(*work), strict=True):
            hand.devices = connected.devices
            self.connect_s.extend(connected.seconds)
            self.failures.extend(connected.failures)

    async def work(
        self,
        phases: Sequence[Phase],
        *,
        seed: int,
        warm_up_s: float = 0.0,
        settle_s: float = 30.0,
        mix: Mix | None = None,
        gaps: Gaps = "poisson",
    ) -> Load:
        """Carry out one plan together; what is intended in the first `warm_up_s` is not counted. Raises RigError."""
        begun, first, load, work = clock() + HEAD_START_S, 0, Load(), []
        for hand in self.hands:
            order = Work(
                seed=seed,
                phases=list(phases),
                mix=mix or Mix(),
                gaps=gaps,
                devices=self.devices,
                first=first,
                begun=begun,
                count_from=begun + warm_up_s,
                settle_s=settle_s,
            )
            work.append(hand.ask(order, Worked))
            first += hand.devices
        for part in await asyncio.gather(*work):
            load.add(part)
        return load

    async def look(self) -> list[State]:
        """How each worker is. Raises RigError."""
        return list(await asyncio.gather(*(hand.ask(Look(), State) for hand in self.hands)))

    async def finish(self) -> None:
        """End all sessions and histories. Raises RigError."""
        await asyncio.gather(*(hand.ask(Finish(), Done) for hand in self.hands))


def _known(accounts: Sequence[Account], starts: Mapping[str, int]) -> dict[str, int]:
    """The starts of their conversations only."""
    names = {name for account in accounts for name in account.conversations}
    return {name: starts[name] for name in names if name in starts}


@asynccontextmanager
async def crew(
    *,
    url: str,
    accounts: Sequence[Account] = (),
    workers: int,
    recorder: Recorder,
    directory: RunDirectory,
    meter: Meter,
    seed: int,
    reads: bool = False,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Crew]:
    """Start the workers of a run, numbered from 1; they end with the block. Raises RigError."""
    made = Crew(url=url)
    try:
        for number, share in enumerate(shares(accounts, workers), 1):
            log = directory.logs / f"worker-{number}.log"
            command = [sys.executable, "-m", "perf.load.worker"]
            child = await children.start(command, env=env or {}, log=log, listens=True)
            made.hands.append(Hand(child=child, accounts=share, log=log, meter=meter))
            probe.WORKERS.append(child.pid)
        await asyncio.gather(
            *(
                hand.ask(
                    Begin(
                        url=url,
                        history=str(directory.history_of(number)),
                        run=recorder.run,
                        scenario=recorder.scenario,
                        seed=seed,
                        worker=number,
                        full=recorder.full,
                        reads=reads,
                    ),
                    Done,
                )
                for number, hand in enumerate(made.hands, 1)
            )
        )
        yield made
    finally:
        await asyncio.gather(*(_dismiss(hand.child) for hand in made.hands))


async def _dismiss(child: asyncio.subprocess.Process) -> None:
    assert child.stdin is not None
    child.stdin.close()
    await children.stop(child)
    probe.WORKERS.remove(child.pid)
