"""One watched conversation of this process: its position, its recent batches, its sessions.

Laws: batches are taken strictly in `seq` order, and what leaves a hole waits for its predecessor.
What tells of a change that is not here yet waits for that change: a fence may lie before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from time import monotonic
from typing import Protocol

from messaging.protocol.frames import DeviceMark, MarkSummary
from messaging.protocol.server.batch import Batch
from messaging.protocol.server.session import Session

MOST_WAITING = 64  # batches behind a hole; more come from the database with the hole itself
# Marks of a busy conversation wait so long, to leave in the company of its next change.
COMPANY_S = 0.1


class Link(Protocol):
    """A session and the socket behind it."""

    session: Session

    def wake(self) -> None:
        """There is something to write."""


class Topic:
    """A conversation with local sessions. `position` is its last contiguous change here."""

    __slots__ = (
        "_moved",
        "_ring",
        "_ring_bytes",
        "asked",
        "conversation",
        "devices",
        "early",
        "early_summary",
        "joined",
        "links",
        "position",
        "reading",
        "repairing",
        "shown",
        "waiting",
    )

    def __init__(self, conversation: str, position: int) -> None:
        self.conversation, self.position = conversation, position
        self.links: set[Link] = set()
        self.waiting: dict[int, Batch] = {}
        self.joined = self.repairing = False
        self.asked = self.reading = False  # whether it is to be read from the database, and is
        self.devices = 0
        # By device: the marks that the sessions here have seen, and the newest that wait for a change.
        self.shown: dict[str, tuple[int, int]] = {}
        self.early: dict[str, DeviceMark] = {}
        self.early_summary: MarkSummary | None = None
        self._ring: deque[Batch] = deque()
        self._ring_bytes = 0
        self._moved = (0.0, 0.0)  # when the last two changes came, by the monotonic clock

    def take(self, batch: Batch, *, ring_bytes: int) -> list[Batch]:
        """The batches that are now due, in order; empty if this one is old or leaves a hole."""
        due: list[Batch] = []
        if batch.since > self.position:
            known = self.waiting.get(batch.since)
            if self._may_wait(ring_bytes) and (known is None or known.upto < batch.upto):
                self.waiting[batch.since] = batch
            return due
        following: Batch | None = batch
        while following is not None:
            if following.upto > self.position:
                due.append(self._append(following, ring_bytes))
            following = self._next()
        return due

    def _may_wait(self, most_bytes: int) -> bool:
        waiting = self.waiting.values()
        return len(waiting) < MOST_WAITING and sum(len(one.json) for one in waiting) < most_bytes

    @property
    def hole(self) -> bool:
        """Whether something waits for a predecessor."""
        return bool(self.waiting)

    def recent(self, since: int) -> list[Batch]:
        """The batches after `since` if the ring still has all of them."""
        if not self._ring or self._ring[0].since > since:
            return []
        return [batch for batch in self._ring if batch.upto > since]

    @property
    def busy(self) -> bool:
        """Whether changes follow each other so closely that the next one is due within COMPANY_S."""
        return monotonic() - self._moved[0] < 2 * COMPANY_S

    def ripe(self, marks: list[DeviceMark]) -> list[DeviceMark]:
        """Those of the marks that tell of changes up to our position; the others are kept in `early`."""
        self.keep(mark for mark in marks if mark.delivered > self.position)
        return [mark for mark in marks if mark.delivered <= self.position]

    def keep(self, marks: Iterable[DeviceMark]) -> None:
        """Have marks wait for the next change, the newest of each device."""
        for mark in marks:
            known = self.early.get(mark.device)
            if known is None or (known.delivered, known.read) < (mark.delivered, mark.read):
                self.early[mark.device] = mark

    def news(self, marks: list[DeviceMark]) -> list[DeviceMark]:
        """Those of the marks that are ahead of what was shown, now noted as shown."""
        ahead = []
        for mark in marks:
            delivered, read = self.shown.get(mark.device, (-1, -1))
            if mark.delivered > delivered or mark.read > read:
                self.shown[mark.device] = (mark.delivered, mark.read)
                ahead.append(mark)
        return ahead

    def current(self, marks: list[DeviceMark]) -> list[DeviceMark]:
        """Those of the marks, read from the database, that nobody was shown newer ones of meanwhile."""
        kept = []
        for mark in marks:
            delivered, read = self.shown.get(mark.device, (0, 0))
            if mark.delivered >= delivered and mark.read >= read:
                kept.append(mark)
        return kept

    def _append(self, batch: Batch, ring_bytes: int) -> Batch:
        if batch.since < self.position:
            batch = batch.after(self.position)
        self.position = batch.upto
        self._moved = (self._moved[1], monotonic())
        self._ring.append(batch)
        self._ring_bytes += len(batch.json)
        while self._ring_bytes > ring_bytes:
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
