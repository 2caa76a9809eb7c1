"""Fences that stop nobody."""

from __future__ import annotations

from messaging.hub import people
from messaging.hub.topic import Link
from messaging.protocol.server.batch import Batch
from messaging.protocol.server.feeds import Feed
from presence import statements


def leave() -> None:
    """Go on sending to those who have left."""

    def hear(self: Feed, batch: Batch, user: str) -> None:
        self.known = max(self.known, batch.upto)

    Feed.hear = hear  # type: ignore[method-assign]


def revocation() -> None:
    """Answer a revocation at once, and leave the sessions of the device open."""

    def close_revoked(link: Link) -> None:
        """Nothing."""

    people._close_revoked = close_revoked
    statements.HELD = "SELECT 1 WHERE %s::text IS NULL"
