"""Which life of the database this process serves.

A restored backup begins a new one (`manage.py begin_epoch`). What sessions were sent, and what this process
knows of conversations, is of the old one then: all of it goes, and the devices come back.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

from messaging.protocol.errors import CloseCode

if TYPE_CHECKING:
    from messaging.hub.hub import Hub

logger = logging.getLogger(__name__)

RECONNECT_MS = (50, 1_500)  # spread of the clients' return, as after a deploy


class Epoch:
    """The epoch that `welcome` tells, and the eye on it."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.known: str | None = None  # None before it was read

    async def current(self) -> str:
        """The epoch. Raises psycopg.Error when the database is away and nobody has asked before."""
        if self.known is None:
            self.known = await self._hub.door.epoch()
        return self.known

    async def check(self) -> None:
        """Look whether another one has begun; if so every session ends, to start anew. Raises psycopg.Error."""
        known, found = self.known, await self._hub.feed.epoch()
        self.known = found
        if known not in (None, found):
            logger.warning("the database has begun another epoch: every device starts anew")
            self._hub.close_all(
                CloseCode.RESTART,
                reconnect_after=lambda: random.randint(*RECONNECT_MS),
                discard=True,
            )
            self._hub.forget_topics()
