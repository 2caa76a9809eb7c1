"""What the database says of changes that did not pass this process: whom and what to read again.

A hint is `conversation.<id>`, `user.<id>`, `presence.<user>`, or `*` for everything; it may be lost or
doubled. However many there are of one thing, one reader follows them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from messaging.hub.hub import Hub

logger = logging.getLogger(__name__)


class Hints:
    """Takes hints for one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._hinted: dict[str, bool] = {}  # being read; whether a hint came since the read began

    def take(self, hint: str) -> None:
        """Something changed from outside."""
        kind, _, key = hint.partition(".")
        if "*" in (kind, key):
            self._hub.compare_all()
        elif kind == "conversation" and key in self._hub.topics:
            if key not in self._hinted:
                self._hub.spawn(self._follow(key))
            self._hinted[key] = True
        elif kind == "user":
            self._hub.people.hint(key)
            self._hub.presence.hint([key])  # their devices are in their own entry
        elif kind == "presence":
            self._hub.presence.hint([key])
            self._hub.people.hint_missing(key)

    async def _follow(self, conversation: str) -> None:
        """Read what a conversation's hints tell of: one reader, however many statements there are."""
        try:
            while self._hinted.get(conversation):
                self._hinted[conversation] = False
                topic = self._hub.topics.get(conversation)
                if topic is not None:
                    await self._hub.catch_up(topic)
                    await self._hub.marks.reread(conversation)
        except psycopg.Error as error:
            logger.debug("marks can't be read now: %s", error)
            self._hub.check_all.set()
        finally:
            del self._hinted[conversation]
