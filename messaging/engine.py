"""This process's roster, journal, receipts and hub: started on first use, once per event loop.

ASGI servers differ in what they call at start-up (Daphne and Channels: nothing), so whoever needs
the engine asks `running()`. `drain` ends it cleanly.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

from messaging import metrics
from messaging.gauges import Gauges
from messaging.hub.hub import Hub
from messaging.hub.reconciler import Reconciler
from messaging.journal.journal import Journal
from messaging.journal.receipts import Receipts
from messaging.overload.allowance import Allowance, limits
from messaging.overload.door import door
from messaging.protocol.errors import CloseCode
from presence import database
from presence.breaker import State
from presence.roster import Roster

logger = logging.getLogger(__name__)

DRAIN_S = 10.0
GOODBYE_S = 3.0  # of it for the goodbyes: a client that does not read is given 2 s
RECONNECT_MS = (50, 1_500)  # spread of the clients' return after a deploy
ELSEWHERE_MS = (0, 500)  # of those of a process that stood still: they have waited already


@dataclass
class Engine:
    """Everything that a session needs."""

    roster: Roster
    journal: Journal
    receipts: Receipts
    hub: Hub
    reconciler: Reconciler
    gauges: Gauges
    shedding: asyncio.Task[None]
    draining: bool = False

    def allowance(self, device: str, user: str) -> Allowance:
        """What a device may ask for."""
        breakers = (database.breaker, self.journal.breaker)
        return Allowance(limits(), device=device, user=user, breakers=breakers)

    async def close(self) -> None:
        """Stop everything at once; sessions are not told. Never raises: what fails is logged, the rest stops."""
        self.shedding.cancel()
        parts = (self.gauges, self.reconciler, self.hub, self.journal, self.receipts)
        for stop in (*(part.close for part in parts), self.roster.stop):
            try:
                await stop()
            except Exception:
                logger.exception("a part of the engine did not stop cleanly")


_starting: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[Engine]] = WeakKeyDictionary()


async def running() -> Engine:
    """The engine of the running event loop, started if need be. Raises psycopg.Error without a database."""
    loop = asyncio.get_running_loop()
    task = _starting.get(loop)
    if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
        task = _starting[loop] = loop.create_task(_start())
    return await asyncio.shield(task)


def started() -> Engine | None:
    """The engine of the running event loop if it runs already; starts nothing."""
    task = _starting.get(asyncio.get_running_loop())
    ready = task is not None and task.done() and not task.cancelled()
    return task.result() if task is not None and ready and task.exception() is None else None


async def _start() -> Engine:
    roster = Roster()
    hub = Hub(roster)
    roster.on_renewed, roster.on_alive = hub.lease_renewed, hub.tick
    # Nobody waits for these sessions any more: what they had not sent, a revoked device may not get.
    roster.on_paused = partial(
        hub.close_all,
        CloseCode.PAUSED,
        reconnect_after=lambda: random.randint(*ELSEWHERE_MS),
        discard=True,
    )
    await roster.start()
    journal = Journal()
    engine = Engine(
        roster=roster,
        journal=journal,
        receipts=Receipts(),
        hub=hub,
        reconciler=Reconciler(hub),
        gauges=Gauges(roster=roster, journal=journal, hub=hub),
        shedding=asyncio.create_task(door().pressure.watch(lambda: journal.backlog)),
    )
    database.breaker.on_change = partial(_tell, "database")
    journal.breaker.on_change = partial(_tell, "writes")
    engine.journal.start()
    engine.receipts.start()
    await hub.start()
    engine.reconciler.start()
    engine.gauges.start()
    return engine


def _tell(name: str, state: State) -> None:
    metrics.breaker_open.labels(name).set(state == "open")
    if state == "open":
        logger.error(
            "breaker %s is open: what needs it is refused until the database answers", name
        )
    else:
        logger.warning("breaker %s is closed: the database answers", name)


async def drain(deadline_s: float = DRAIN_S) -> None:
    """End cleanly: refuse new writes, commit and answer what is queued, say goodbye, give the lease back.

    Never raises; after `deadline_s` seconds, of which GOODBYE_S are for the goodbyes, it goes on regardless.
    """
    task = _starting.get(asyncio.get_running_loop())
    if task is None:
        return
    try:
        engine = await task
    except Exception:  # it never ran; whoever asked for it was told
        return
    # It stays the loop's engine: whoever comes now is refused, not served by a new one.
    engine.draining = True
    await _patiently(engine.journal.drain(), deadline_s - GOODBYE_S, "the journal is not empty")
    engine.hub.close_all(CloseCode.RESTART, reconnect_after=lambda: random.randint(*RECONNECT_MS))
    # Marks last: other processes' messages are acknowledged as long as there are sessions.
    await _patiently(_emptied(engine), GOODBYE_S, "sessions are cut")
    await engine.close()


async def _emptied(engine: Engine) -> None:
    await engine.roster.emptied()
    await engine.receipts.drain()


async def _patiently(work: Awaitable[None], seconds: float, otherwise: str) -> None:
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        logger.warning("the drain did not end in time: %s", otherwise)
    except Exception:
        logger.exception("the drain failed: %s", otherwise)


async def shut_down() -> None:
    """Stop the engine of the running loop without ceremony, for tests."""
    task = _starting.pop(asyncio.get_running_loop(), None)
    if task is not None:
        await (await task).close()
