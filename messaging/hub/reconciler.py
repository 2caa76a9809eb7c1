"""Finds whatever every hint lost: compares this process's topics and people with the database.

Two passes, one over topics and people, one over presence: each every 5 s, in slices of at most 5,000 ids, at most 5 % of the time; above that the pass
stretches. While the bus is deaf it is every 250 ms, and while hints ask for passes too it takes at most
half of the time. A pass that fails, or takes long once, has waited for the database, and is no measure
of the work: of two in a row the shorter one counts. Also the ears for NOTIFY, the second hand, and the eye on other processes' leases.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from time import monotonic
from typing import Any

import psycopg

from messaging import metrics
from messaging.hub.events import PRESENCE_GROUP
from messaging.hub.hub import Hub
from presence import database

logger = logging.getLogger(__name__)

PASS_S = 5.0
DEAF_PASS_S = 0.25
SLICE = 5_000
MOST_OF_A_CORE = 0.05
PRESENCE_REST = 4.0  # times as long as a pass takes: messages come first
HINTED_PAUSE_S = 0.02
TICK_S = 1.0
RETRY_S = 0.25
COMMIT_S = 1.0  # from the moment that a mark bears until it can be seen
LEASES_S = 2.0  # at most, between two looks at leases: a dead process is missed that much too late
LEASE_OVER_S = 0.01  # behind the end of a lease
LISTEN_TIMEOUT_MS = 3_000


class Reconciler:
    """Start it with `start`, stop it with `close`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin passes, listening and ticking in the running event loop."""
        work = (
            self._run(),
            self._run_presence(),
            self._follow_leases(),
            self._listen(),
            self._tick(),
        )
        self._tasks = [asyncio.create_task(one) for one in work]

    async def close(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        last_full, last = monotonic(), float("inf")
        while True:
            began = monotonic()
            if await self._succeeds(self._pass(last=last_full)):
                last_full = began
                took = monotonic() - began
                metrics.pass_seconds.set(took)
            else:
                took = 0.0
            rest, last = min(took, last), took
            await self._rest(rest, self._hub.check_all, at_least=rest)

    async def _run_presence(self) -> None:
        last = float("inf")
        while True:
            began = monotonic()
            done = await self._succeeds(self._presence_pass())
            took = monotonic() - began if done else 0.0
            rest, last = min(took, last), took
            await self._rest(rest, self._hub.presence.check_all, at_least=rest * PRESENCE_REST)

    async def _succeeds(self, work: Coroutine[Any, Any, None]) -> bool:
        try:
            await work
        except psycopg.Error as error:
            logger.debug("the reconciler waits for the database: %s", error)
        except Exception:  # whatever it is, the next pass is the repair of everything else
            logger.exception("a pass of the reconciler failed")
        else:
            return True
        return False

    async def _presence_pass(self) -> None:
        if not (self._hub.presence.hears or self._hub.bus.deaf):
            self._hub.bus.join(PRESENCE_GROUP)  # the first try was lost without the bus going deaf
        await self._hub.people.check_missing()
        await self._hub.presence.check()

    async def _follow_leases(self) -> None:
        """Ask for a pass over presence when a process's lease has run out, or holds again: nobody else would say so."""
        known: set[str] = set()
        while True:
            wait = LEASES_S
            try:
                leases = await self._hub.presence.leases()
                if known != leases.keys():
                    self._hub.presence.check_all.set()
                known = set(leases)
                wait = min([LEASES_S, *leases.values()]) + LEASE_OVER_S
            except psycopg.Error as error:
                logger.debug("leases can't be read now: %s", error)
            except Exception:
                logger.exception("a look at the leases failed")
            await asyncio.sleep(wait)

    async def _rest(self, took: float, wanted: asyncio.Event, *, at_least: float) -> None:
        await asyncio.sleep(max(HINTED_PAUSE_S, at_least))  # whoever asks for passes
        # Deaf, the passes are all that there is: G6 holds before thrift does.
        pause = DEAF_PASS_S if self._hub.bus.deaf else max(PASS_S, took / MOST_OF_A_CORE)
        try:
            async with asyncio.timeout(pause):
                await wanted.wait()
        except TimeoutError:
            return
        wanted.clear()

    async def _pass(self, *, last: float) -> None:
        """Compare everything; `last` is when the last pass began that did, by the monotonic clock."""
        await self._hub.epoch.check()
        for conversations in _slices(list(self._hub.topics)):
            await self._hub.check(conversations)
            since_s = monotonic() - last  # now: it may have taken long to come so far
            await self._hub.marks.check(conversations, seconds=since_s + COMMIT_S)
        for users in _slices(self._hub.people.users):
            await self._hub.people.check(users)

    async def _listen(self) -> None:
        """Take NOTIFY hints; after each (re)connection everything is compared once."""
        while True:
            try:
                connection = await database.connect("lockstep hints")
                async with connection:
                    with database.deadline(connection, LISTEN_TIMEOUT_MS):
                        await connection.execute("LISTEN lockstep")
                    self._hub.compare_all()
                    await self._hear(connection)
            except psycopg.Error as error:
                logger.debug("hints of the database are not heard: %s", error)
            except Exception:
                logger.exception("a hint of the database failed")
            await asyncio.sleep(RETRY_S)

    async def _hear(self, connection: psycopg.AsyncConnection[Any]) -> None:
        async for notification in connection.notifies():
            self._hub.hint(notification.payload)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                self._hub.tick()
            except Exception:
                logger.exception("a tick of the hub failed")


def _slices(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), SLICE):
        yield ids[start : start + SLICE]
