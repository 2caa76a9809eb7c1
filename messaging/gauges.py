"""Reads the gauges off the engine once a second: a page of several processes can't ask them when it is made.

How late each reading comes is a gauge itself: the event loop had no time for it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from time import monotonic

from messaging import metrics
from messaging.hub.hub import Hub
from messaging.journal.journal import Journal
from presence.database import pool_waiting
from presence.roster import Roster

logger = logging.getLogger(__name__)

EVERY_S = 1.0


class Gauges:
    """Start it with `start`, stop it with `close`."""

    def __init__(self, *, roster: Roster, journal: Journal, hub: Hub) -> None:
        self._roster, self._journal, self._hub = roster, journal, hub
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read in the running event loop."""
        self._task = asyncio.create_task(self._run(), name="gauges")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        metrics.processes.set(1)
        while True:
            due = monotonic() + EVERY_S
            await asyncio.sleep(EVERY_S)
            try:
                self.read(late_s=monotonic() - due)
            except Exception:  # a gauge less is no reason to lose the others for ever
                logger.exception("the gauges could not be read")

    def read(self, *, late_s: float) -> None:
        """Set every gauge to what is now."""
        hub, journal = self._hub, self._journal
        metrics.loop_lag.set(max(late_s, 0.0))
        metrics.topics.set(len(hub.topics))
        metrics.users.set(len(hub.people.users))
        metrics.behind.set(sum(1 for link in hub.people.links if link.session.feeds.behind))
        metrics.queued.set(journal.queued)
        metrics.commit_waiting.set(journal.waiting_s)
        metrics.bus_queued.set(hub.bus.queued)
        metrics.bus_deaf.set(int(hub.bus.deaf))
        metrics.bus_lag.set(hub.bus.lag_s)
        metrics.lease_age.set(self._roster.age_s)
        metrics.pool_waiting.set(pool_waiting())
        metrics.allocated_blocks.set(sys.getallocatedblocks())
