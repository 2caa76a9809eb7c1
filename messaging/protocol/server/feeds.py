"""The conversations of one session: each is live, or behind and read as credit allows.

A feed is *live* when its cursor is at the hub's position, and then takes batches as they come. Else
it is *behind*: it holds its cursor and nothing more, until a page read from `cursor` brings it on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from messaging.protocol.frames import Mark, Reference, Reset
from messaging.protocol.server.actions import Standing
from messaging.protocol.server.batch import Batch
from messaging.protocol.server.window import Window

READS = 4  # pages on their way for one session at a time


@dataclass(slots=True, kw_only=True)
class Feed:
    """One conversation. `cursor` is what was sent, `known` the newest change heard of that is the user's."""

    cursor: int
    known: int
    joined: int
    visible_from: int = 0
    leaves_at: int | None = None
    live: bool = False
    delivered: int = 0
    read: int = 0
    purged: int = 0  # what was gone before the feed began, or before the device started anew

    @property
    def over(self) -> bool:
        """Whether everything up to the end of the user's stay was sent."""
        return self.leaves_at is not None and self.cursor >= self.leaves_at

    def renew(self, standing: Standing) -> None:
        """Go on in a newer stay (the user left and was added again before this feed came to the end), or by another rule of history."""
        if standing.joined_seq > self.joined:
            self.joined, self.leaves_at = standing.joined_seq, standing.left_seq
            self.known = max(self.known, standing.last)
        if standing.joined_seq == self.joined:
            self.visible_from = standing.joined_seq if standing.since_joined else 0

    def hear(self, batch: Batch, user: str) -> None:
        """Note how far the conversation is, sent or not, and where the user's stay ends: beyond it nothing is theirs."""
        for fence in batch.fences:
            if fence.user == user and fence.seq >= self.joined and not self._ends_by(fence.seq):
                self.leaves_at = fence.seq
        upto = batch.upto if self.leaves_at is None else min(batch.upto, self.leaves_at)
        self.known = max(self.known, upto)

    def permitted(self, batch: Batch) -> Batch:
        """What of a batch that was heard the user may see: from their own stay, and not before it if that is hidden."""
        if self.leaves_at is not None and batch.upto > self.leaves_at:
            batch = batch.until(self.leaves_at)
        if batch.oldest < self.visible_from:
            batch = batch.visible_from(self.visible_from)
        return batch

    def lacks(self, page: Batch, *, since: int) -> bool:
        """Whether changes after `since` are gone for real since the feed began: nobody can say what they changed."""
        return 0 < since < page.purged > self.purged

    def _ends_by(self, seq: int) -> bool:
        return self.leaves_at is not None and self.leaves_at <= seq

    def mark(self, conversation: str, *, delivered: int, read: int) -> Mark | None:
        """Raise the device's marks; the new ones, or None if they did not move."""
        if delivered <= self.delivered and read <= self.read:
            return None
        self.delivered, self.read = max(self.delivered, delivered), max(self.read, read)
        return self.marks(conversation)

    def marks(self, conversation: str) -> Mark:
        """The device's marks as they are."""
        return Mark(conversation=conversation, delivered=self.delivered, read=self.read)


class Acknowledged(NamedTuple):
    """The marks to be stored, and what is wrong with one beyond the last change, else ""."""

    moved: list[Mark]
    ahead: str


class Feeds:
    """All feeds of a session, by conversation."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}
        self._behind: dict[str, None] = {}  # an ordered set: the longest waiting first
        self._reading: set[str] = set()
        self.ended: dict[str, int] = {}  # what the device has where it has no feed now
        self.restarted: list[str] = []  # of these it has forgotten the marks, too

    def __contains__(self, conversation: object) -> bool:
        return conversation in self._feeds

    def __iter__(self) -> Iterator[str]:
        return iter(self._feeds)

    def get(self, conversation: str) -> Feed | None:
        """The feed, if the session has this conversation."""
        return self._feeds.get(conversation)

    def is_live(self, conversation: str) -> bool:
        """Whether the session has this conversation and its cursor is at the hub's position."""
        feed = self._feeds.get(conversation)
        return feed is not None and feed.live

    def begins_anew(self, conversation: str) -> bool:
        """Whether the session has not passed what is gone for real: what is remembered of before it has that, too."""
        feed = self._feeds.get(conversation)
        return feed is not None and feed.cursor < feed.purged

    @property
    def behind(self) -> bool:
        """Whether anything waits to be read."""
        return bool(self._behind)

    def start(self, standing: Standing, *, since: int) -> None:
        """Begin to follow a conversation after `since`."""
        self._feeds[standing.conversation] = Feed(
            cursor=since,
            known=max(standing.last, since),
            joined=standing.joined_seq,
            visible_from=standing.joined_seq if standing.since_joined else 0,
            leaves_at=standing.left_seq,
            delivered=standing.delivered or 0,
            read=standing.read,
            purged=standing.purged,
        )
        self._behind[standing.conversation] = None

    def restart(self, page: Batch, window: Window) -> Reset:
        """Begin anew from 0, and give back the credit of what the client is to forget. Returns how it is told so."""
        feed = self._feeds[page.conversation]
        feed.cursor, feed.purged = 0, page.purged
        self.restarted.append(page.conversation)
        self.fall_behind(page.conversation)
        window.forget(page.conversation)
        return Reset(conversation=page.conversation, purged=page.purged)

    def end(self, conversation: str) -> None:
        """Stop following a conversation; what the device has of it is kept in mind."""
        self.ended[conversation] = self._feeds.pop(conversation).cursor
        self._behind.pop(conversation, None)
        self._reading.discard(conversation)

    def acknowledge(
        self, marks: Iterable[Mark], window: Window, *, ref: Reference | None = None
    ) -> Acknowledged:
        """Take what the client acknowledges, and give the window's credit back.

        With a `ref` they are to be confirmed, also what did not move: it may be from before, and wait to be stored.
        """
        moved, ahead = [], ""
        for mark in marks:
            feed = self._feeds.get(mark.conversation)
            if feed is None:
                continue  # of a conversation just left: nothing to say, nothing to store
            delivered = max(mark.delivered, mark.read)
            if delivered > feed.known:
                ahead = f"{delivered} > {feed.known}"
                continue
            window.acknowledged(mark.conversation, delivered)
            raised = feed.mark(mark.conversation, delivered=delivered, read=mark.read)
            if raised is None and ref is not None and feed.delivered:
                raised = feed.marks(mark.conversation)
            if raised is not None:
                moved.append(raised)
        return Acknowledged(moved, ahead)

    def delivered(self, upto: Mapping[str, int]) -> list[Mark]:
        """Take what was written to a client that never acknowledges; the marks that this raised."""
        marks = (
            feed.mark(conversation, delivered=seq, read=0)
            for conversation, seq in upto.items()
            if (feed := self._feeds.get(conversation)) is not None
        )
        return [mark for mark in marks if mark is not None]

    def fall_behind(self, conversation: str) -> None:
        """Stop taking live batches; a page on its way still counts."""
        feed = self._feeds.get(conversation)
        if feed is not None:
            feed.live = False
            if conversation not in self._reading:
                self._behind[conversation] = None

    def settle(self, conversation: str, *, position: int) -> None:
        """Decide, without an await since the hub's position was taken, whether a feed is live or behind."""
        feed = self._feeds.get(conversation)
        if feed is None:
            return
        self._reading.discard(conversation)
        feed.live = feed.cursor >= position and feed.leaves_at is None
        if feed.live:
            self._behind.pop(conversation, None)
        else:
            self._behind[conversation] = None

    def next_read(self) -> tuple[str, int] | None:
        """The (conversation, since) to read next, from now on being read; None if there is nothing, or enough."""
        if len(self._reading) >= READS:
            return None
        for conversation in self._behind:
            del self._behind[conversation]
            self._reading.add(conversation)
            return conversation, self._feeds[conversation].cursor
        return None

    def read_failed(self, conversation: str) -> None:
        """A page could not be read; it stays to be read."""
        self._reading.discard(conversation)
        if conversation in self._feeds:
            self._behind[conversation] = None

    def stop_reading(self) -> None:
        """Nothing more is wanted."""
        self._behind.clear()
