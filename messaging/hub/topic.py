"""One watched conversation of this process: its position, its recent batches, its sessions.

Law: batches are taken strictly in `seq` order. What leaves a hole waits for its predecessor.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from messaging.protocol.batch import Batch
from messaging.protocol.server import Session

RING_BATCHES = 32
RING_BYTES = 8_192  # of JSON; 10,000 watched conversations keep below 80 MB


class Link(Protocol):
    """A session and the socket behind it."""

    session: Session

    def wake(self) -> None:
        """There is something to write."""


class Topic:
    """A conversation with local sessions. `position` is its last contiguous change here."""

    __slots__ = ("_ring", "_ring_bytes", "conversation", "devices", "joined", "links", "position", "waiting")

    def __init__(self, conversation: str, position: int) -> None:
        self.conversation, self.position = conversation, position
        self.links: set[Link] = set()
        self.waiting: dict[int, Batch] = {}
        self.joined = False
        self.devices = 0
        self._ring: deque[Batch] = deque()
        self._ring_bytes = 0

    def take(self, batch: Batch) -> list[Batch]:
        """The batches that are now due, in order; empty if this one is old or leaves a hole."""
        due = []
        if batch.since > self.position:
            self.waiting[batch.since] = batch
            return due
        while batch is not None:
            if batch.upto > self.position:
                due.append(self._append(batch))
            batch = self._next()
        return due

    @property
    def hole(self) -> bool:
        """Whether something waits for a predecessor."""
        return bool(self.waiting)

    def recent(self, since: int) -> list[Batch]:
        """The batches after `since` if the ring still has all of them."""
        if not self._ring or self._ring[0].since > since:
            return []
        return [batch for batch in self._ring if batch.upto > since]

    def _append(self, batch: Batch) -> Batch:
        if batch.since < self.position:
            batch = batch.after(self.position)
        self.position = batch.upto
        self._ring.append(batch)
        self._ring_bytes += len(batch.json)
        while self._ring_bytes > RING_BYTES or len(self._ring) > RING_BATCHES:
            self._ring_bytes -= len(self._ring.popleft().json)
        return batch

    def _next(self) -> Batch | None:
        for since in sorted(self.waiting):
            if since > self.position:
                return None
            batch = self.waiting.pop(since)
            if batch.upto > self.position:
                return batch
        return None
