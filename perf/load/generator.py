"""The generator watches itself: a late generator must not be taken for a slow server, nor a busy one for its capacity.

Three signs: sends later than their plan, timers that fire late, and its share of a core. Where it may, it goes
before the servers on the processors that it shares with them, as if it had a machine of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from time import process_time
from typing import Any

from perf.history.testimony import clock
from perf.measure.latency import Latency
from perf.measure.meter import Meter

LOOK_S = 0.01  # how often the loop's lag is looked at: 100 timers a second cost nothing
LATE_MS = 10.0  # p99; a fifth of the limit of the delivery latency, which it is part of
BUSY_PERCENT = 90.0  # of a core: beyond, a single thread has no reserve
NICE = -10  # nine times the weight of a process at 0, so it runs within a millisecond of its moment


class Generator:
    """What this process was like over the time inside `watched`, to be used once."""

    def __init__(self, meter: Meter | None = None) -> None:
        self.lateness, self.lag = Latency(), Latency()
        self.cpu_percent = 0.0
        self.nice = 0
        self._meter = meter

    def sent(self, late_s: float) -> None:
        """A request left so many seconds after its moment."""
        self.lateness.record(late_s)
        if self._meter is not None:
            self._meter.worst("generator.late_ms", round(late_s * 1000, 3))

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Watch the time inside."""
        begun, used = clock(), process_time()
        looking = asyncio.create_task(self._look())
        try:
            with preferred() as self.nice:
                yield
        finally:
            looking.cancel()
            self.cpu_percent = round(100 * (process_time() - used) / (clock() - begun), 1)

    async def _look(self) -> None:
        while True:
            due = clock() + LOOK_S
            await asyncio.sleep(LOOK_S)
            lag = max(clock() - due, 0.0)
            self.lag.record(lag)
            if self._meter is not None:
                self._meter.worst("generator.lag_ms", round(lag * 1000, 3))

    @property
    def trouble(self) -> str | None:
        """Why figures of this time may tell of the generator and not of the server; None if they do not."""
        signs = []
        late, lag = self.lateness.percentile(99), self.lag.percentile(99)
        if late is not None and late > LATE_MS:
            signs.append(f"its sends were {late:.0f} ms late (p99)")
        if lag is not None and lag > LATE_MS:
            signs.append(f"its timers were {lag:.0f} ms late (p99)")
        if self.cpu_percent > BUSY_PERCENT:
            signs.append(f"it took {self.cpu_percent:.0f} % of a core")
        return f"the generator was the bottleneck: {', '.join(signs)}" if signs else None

    def figures(self) -> dict[str, Any]:
        """What a report shows of it."""
        return {
            "cpu_percent": self.cpu_percent,
            "late_p99_ms": self.lateness.percentile(99),
            "late_max_ms": self.lateness.summary().max,
            "loop_lag_p99_ms": self.lag.percentile(99),
            "nice": self.nice,
        }


@contextmanager
def preferred() -> Iterator[int]:
    """Give this thread the priority NICE for the time inside; yields the one that it has.

    Linux permits that to root and CAP_SYS_NICE; others go on as they are. Processes and threads that
    are begun inside, a server that comes back among them, have the usual priority (sched(7), "reset-on-fork").
    """
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(AttributeError, PermissionError):
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    try:
        yield os.getpriority(os.PRIO_PROCESS, 0)
    finally:
        with suppress(AttributeError, PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, before)
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
