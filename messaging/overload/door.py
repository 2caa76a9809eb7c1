"""Who may come in: WebSockets by number and rate, hellos a few at a time, in order.

Whoever is refused is told when to come back, before the database is asked anything: at the pace at which
hellos are answered now, so that a fleet comes back as fast as it can be served, and no faster. A hello
costs milliseconds of CPU and several statements; with few of them under way, connected devices get their
turns between them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from weakref import WeakKeyDictionary

from messaging import conf
from messaging.overload.buckets import Buckets
from messaging.overload.pressure import FEW_AT_A_TIME, Pressure

AT_ONCE = 16  # hellos that the database works on
EACH_S = 0.01  # that one hello takes, until it is known better
LEARNING = 0.05  # weight of the newest hello in that: the last 20 count
LONGEST_S = 10.0  # a wait that nobody is asked to exceed, so that no estimate does harm
JITTER = 0.25  # of a wait, more or less


class Full(Exception):
    """There is no room now; `reconnect_after` is in ms."""

    def __init__(self, reconnect_after: int) -> None:
        super().__init__(reconnect_after)
        self.reconnect_after = reconnect_after


class Door:
    """The way into one process, for one event loop."""

    def __init__(
        self,
        given: conf.Settings,
        *,
        clock: Callable[[], float] = monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.pressure = Pressure(shed_lag_s=given.shed_lag_s, clock=clock)
        self.inside = 0
        self._most, self._wait_s = given.connections, given.hello_wait_s
        self._handshakes = Buckets(rate=given.handshakes_per_s, burst_s=given.burst_s)
        self._clock, self._jitter = clock, jitter
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._waiting = self._under_way = 0
        self._each_s, self._answered = EACH_S, 0.0
        self._next_place = 0.0  # s of the clock: when the next one that is refused may come back

    def enter(self) -> None:
        """Count a new WebSocket, to be followed by `leave`. Raises Full; then it is not counted."""
        full = 0 < self._most <= self.inside
        if full or self._is_slow or self._handshakes.take("", self._clock()) is not None:
            raise Full(self._place())
        self.inside += 1

    def leave(self) -> None:
        """A WebSocket is gone."""
        self.inside -= 1

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for one's turn to be looked up. Raises Full at once if that would take too long."""
        if self._is_slow:
            raise Full(self._place())
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._turns.release()
            self._learn()

    @property
    def _is_slow(self) -> bool:
        """Whether one more would wait too long. Under pressure nobody waits, but a few come in: with none at all,
        nobody would ever come back to a process that is busy for a reason of its own.
        """
        if self.pressure.level >= FEW_AT_A_TIME:
            return self._under_way >= AT_ONCE
        return self._waiting * self._each_s > self._wait_s

    def _learn(self) -> None:
        """One more hello was answered: while others wait, the time between two is what one takes."""
        now, before = self._clock(), self._answered
        self._answered = now
        took = min(now - before, 1.0) if self._waiting else EACH_S
        self._each_s += LEARNING * (took - self._each_s)

    def _place(self) -> int:
        """The ms after which the next one that is refused may come back: behind those who wait, one after the other."""
        now = self._clock()
        behind = now + max(self._waiting * self._each_s, 1.0)
        self._next_place = min(max(self._next_place + self._each_s, behind), now + LONGEST_S)
        jittered = (self._next_place - now) * (1 + JITTER * (2 * self._jitter() - 1))
        return round(jittered * 1000)


_doors: WeakKeyDictionary[asyncio.AbstractEventLoop, Door] = WeakKeyDictionary()


def door() -> Door:
    """The door of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _doors.get(loop)
    if found is None:
        found = _doors[loop] = Door(conf.current())
    return found
