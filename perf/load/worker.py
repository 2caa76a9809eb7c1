"""A process with a part of the fleet: `python -m perf.load.worker`, told by a `Crew` on stdin what to do.

It writes a history of its own and counts on behalf of the crew's series; when its stdin ends, whatever
the reason, it ends too.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil
import uvloop

from perf.history.recorder import Recorder
from perf.load.fleet import Fleet, FleetError
from perf.load.flow import Flow
from perf.load.generator import Generator
from perf.load.observer import Troubles
from perf.load.orders import (
    AnyOrder,
    Begin,
    Connect,
    Connected,
    Done,
    Failed,
    Finish,
    Look,
    Report,
    State,
    Tick,
    Work,
    Worked,
)
from perf.load.plan import make
from perf.load.workload import OpenLoop
from perf.measure.latency import Latency
from perf.rig.limits import raise_file_limit

TICK_S = 0.5
LINE_BYTES = 1 << 26  # an order with thousands of accounts

_decode = msgspec.json.Decoder(AnyOrder).decode
_encode = msgspec.json.Encoder().encode


def say(report: Report) -> None:
    """Write one line to the crew. The pipe is read all the time, so this hardly ever waits."""
    sys.stdout.buffer.write(_encode(report) + b"\n")
    sys.stdout.buffer.flush()


class Relay:
    """A meter whose counts go to the crew."""

    def __init__(self) -> None:
        self._counts: dict[str, float] = {}
        self._worst: dict[str, float] = {}

    def count(self, name: str, n: float = 1) -> None:
        """Add to a count."""
        self._counts[name] = self._counts.get(name, 0) + n

    def worst(self, name: str, value: float) -> None:
        """Keep the greatest value."""
        if value > self._worst.get(name, value - 1):
            self._worst[name] = value

    def time(self, what: str, seconds: float) -> None:
        """Single latencies stay here: the histograms go over as a whole."""

    async def tell(self) -> None:
        """Tell the crew what was counted, until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            if self._counts or self._worst:
                say(Tick(counts=self._counts, worst=self._worst))
                self._counts, self._worst = {}, {}


class Worker:
    """Carries out one order after the other."""

    def __init__(self, order: Begin) -> None:
        self.recorder = Recorder(
            Path(order.history),
            run=order.run,
            scenario=order.scenario,
            seed=order.seed,
            worker=order.worker,
            full=order.full,
        )
        self.relay, self.troubles = Relay(), Troubles()
        self.fleet = Fleet(
            url=order.url, recorder=self.recorder, observer=self.troubles, reads=order.reads
        )

    async def obey(self, order: AnyOrder) -> Report:
        """Do it."""
        match order:
            case Connect():
                return await self._connect(order)
            case Work():
                return await self._work(order)
            case Look():
                return self._look()
            case Finish():
                self.fleet.disconnect()
                self.recorder.close()
        return Done()

    async def _connect(self, order: Connect) -> Connected:
        known, failed = len(self.fleet.connect_s), len(self.fleet.failures)
        with suppress(FleetError):  # the failures say it; other workers may have better luck
            await self.fleet.connect(
                order.accounts, starts=order.starts, rate=order.rate, source=order.source
            )
        return Connected(
            devices=len(self.fleet.devices),
            seconds=self.fleet.connect_s[known:],
            failures=self.fleet.failures[failed:],
        )

    async def _work(self, order: Work) -> Worked:
        flow, generator = Flow(self.relay), Generator(self.relay)
        whole = make(
            seed=order.seed,
            phases=order.phases,
            devices=order.devices,
            mix=order.mix,
            gaps=order.gaps,
        )
        devices = self.fleet.devices
        work = OpenLoop(devices, whole.part(order.first, len(devices)), generator, self.relay)
        self.fleet.observe(flow)
        flow.count_from = order.count_from
        async with generator.watched():
            await work.run(order.begun)
        stored = flow.answer.count
        await self.fleet.quiesce(within_s=order.settle_s)
        return Worked(
            delivery=flow.delivery.packed(),
            uncorrected=flow.uncorrected.packed(),
            answer=flow.answer.packed(),
            lateness=generator.lateness.packed(),
            lag=generator.lag.packed(),
            cpu_percent=generator.cpu_percent,
            asked=flow.asked,
            stored=stored,
            skipped=work.skipped,
            refusals=flow.refusals,
            closures=flow.closures,
            declined=flow.declined,
            unsettled=self.fleet.pending + self.fleet.behind(),
        )

    def _look(self) -> State:
        process = psutil.Process(os.getpid())
        times = process.cpu_times()
        return State(
            online=self.fleet.online,
            pending=self.fleet.pending,
            behind=self.fleet.behind(),
            closures=len(self.troubles.closures),
            cpu_s=times.user + times.system,
            rss_mb=round(process.memory_info().rss / 2**20, 1),
        )


async def main() -> None:
    """Take orders until there are no more."""
    raise_file_limit()
    Latency()  # loads what it needs now, not in the middle of the load
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader(limit=LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    worker: Worker | None = None
    ticking: asyncio.Task[None] | None = None
    while line := await reader.readline():
        order = _decode(line)
        if isinstance(order, Begin):
            worker = Worker(order)
            ticking = asyncio.create_task(worker.relay.tell())
            say(Done())
            continue
        assert worker is not None
        try:
            say(await worker.obey(order))
        except (OSError, FleetError) as error:
            say(Failed(reason=str(error)))
    if ticking is not None:
        ticking.cancel()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
