"""Committed changes to the sessions of this process, strictly in order, from three sources.

The journal of this process (served first), the bus from other processes, and the database for whatever either lost.
Between the comparison of a session's cursor with the topic's position and the decision that it is live there is no await.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from time import monotonic
from typing import Any

import psycopg

from messaging import metrics, signals
from messaging.hub.bus import Bus
from messaging.hub.epoch import Epoch
from messaging.hub.events import PRESENCE_GROUP, Moment, PresenceEvent
from messaging.hub.feed import AT_ONCE, FeedReader
from messaging.hub.hints import Hints
from messaging.hub.marks import MarkBoard
from messaging.hub.people import People
from messaging.hub.presence import PresenceBoard
from messaging.hub.topic import Link, Topic
from messaging.hub.typists import Typists
from messaging.protocol.errors import CloseCode
from messaging.protocol.frames import DeviceMark
from messaging.protocol.server.actions import Identity, Standing
from messaging.protocol.server.batch import Batch
from presence.roster import Roster
from presence.signals import presence_changed

logger = logging.getLogger(__name__)

# A batch waits for its predecessor twice as long as the bus takes now, within these bounds; then the
# hole is read from the database. Between busy processes a page read for nothing costs more than the wait.
HOLE_S = (0.005, 0.25)
# Of JSON kept of one conversation: seconds of a busy one, for sessions that lag.
RING_MOST_BYTES = 1_048_576
RING_TOTAL_BYTES = 33_554_432  # of all conversations together
RETRY_S = 0.1  # between two attempts to read while the database is away
SYSTEM = b'"kind":"system"'  # in a batch: who is in the conversation may have changed


class Hub:
    """The fan-out of one process. Start it with `start`, stop it with `close`."""

    def __init__(self, roster: Roster) -> None:
        self.roster = roster
        self.feed = FeedReader()
        # Who says hello has 10 s, and asks twice; behind the pages of all who catch up it took longer.
        self.door = FeedReader("lockstep door")
        self.topics: dict[str, Topic] = {}
        self.check_all = asyncio.Event()
        self.people = People(
            feed=self.door,
            roster=roster,
            spawn=self.spawn,
            check_all=self.check_all,
            on_standing=self._subscribe,
            on_refreshed=self._refreshed,
        )
        self.marks = MarkBoard(self.topics, self.feed)
        self.bus = Bus(
            on_batch=self.apply,
            on_marks=self.marks.show,
            on_joined=self._joined,
            on_doubt=self.compare_all,  # the reconciler may have gone to rest for long
            on_return=self._bus_returned,
            on_moment=self._on_moment,
            epoch=lambda: self.epoch.known,
        )
        self.presence = PresenceBoard(self.people)
        self.typists = Typists(self.topics, roster, self.bus, is_hidden=self.presence.is_hidden)
        self.epoch = Epoch(self)
        self._tasks: set[asyncio.Task[None]] = set()
        self.hint = Hints(self).take
        self.ring_bytes = RING_MOST_BYTES

    async def start(self) -> None:
        """Listen to the journal and to the bus."""
        signals.messages_committed.connect(self._on_messages)
        signals.receipts_committed.connect(self._on_receipts)
        presence_changed.connect(self._on_presence)
        await self.bus.start()
        self.bus.join(PRESENCE_GROUP)
        self.spawn(self.marks.summarize())
        self.spawn(self.presence.run())

    async def close(self) -> None:
        """Stop; sessions are not told."""
        signals.messages_committed.disconnect(self._on_messages)
        signals.receipts_committed.disconnect(self._on_receipts)
        presence_changed.disconnect(self._on_presence)
        await self.bus.close()
        self.topics.clear()  # whoever still wants to read, has nothing to read
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.feed.close()
        await self.door.close()
        await self.presence.close()

    # Sessions come and go

    async def attach(self, link: Link, identity: Identity) -> None:
        """Open a session: standings are read after it is listed here, so nothing falls in between.

        A device revoked since its token was looked up is told so. Raises psycopg.Error when the
        database is away; the session is not opened then.
        """
        epoch = await self.epoch.current()
        standings = await self.people.admit(link, identity)
        session = link.session
        if standings is None:
            session.close(CloseCode.REVOKED, discard=True)
            link.wake()
            return
        session.open(identity, standings, epoch=epoch)
        metrics.sessions.inc()
        self.presence.greet(link)
        for standing in standings:
            if standing.conversation in session.feeds:
                self._subscribe(link, standing)
        self.pump(link)
        link.wake()
        self.spawn(self.marks.greet(link, list(session.feeds)))

    def detach(self, link: Link) -> None:
        """Forget a session, if it was opened."""
        identity = link.session.identity
        if identity is None:
            return
        metrics.sessions.dec()
        for conversation in list(link.session.feeds):
            self._unsubscribe(link, conversation)
        self.people.forget(link, identity.user)
        self.presence.forget(link)

    def _refreshed(self, link: Link, joined: list[str]) -> None:
        """An open session may have more conversations."""
        self.pump(link)
        self.spawn(self.marks.greet(link, joined))

    def _subscribe(self, link: Link, standing: Standing) -> None:
        conversation, last_seq = standing.conversation, standing.last_seq
        topic = self.topics.get(conversation)
        if topic is None:
            topic = self.topics[conversation] = Topic(conversation, last_seq)
            self.ring_bytes = min(RING_MOST_BYTES, RING_TOTAL_BYTES // len(self.topics))
            self.bus.join(conversation)
            # What was committed while the standings were on their way.
            self.spawn(self.catch_up(topic))
        topic.links.add(link)
        self.presence.entered(link, conversation, topic.links)
        if last_seq > topic.position:
            self.spawn(self.catch_up(topic))
        link.session.feeds.settle(conversation, position=topic.position)

    def _unsubscribe(self, link: Link, conversation: str) -> None:
        topic = self.topics.get(conversation)
        if topic is None:
            return
        topic.links.discard(link)
        if not topic.links:
            del self.topics[conversation]
            self.bus.leave(conversation)
            self.presence.closed(conversation)

    def forget_topics(self) -> None:
        """Drop what is known of every conversation; the sessions that follow them are closing."""
        for conversation in list(self.topics):
            for link in list(self.topics[conversation].links):
                self._unsubscribe(link, conversation)

    def _end(self, link: Link, conversation: str) -> None:
        """The session's user is not in the conversation any more."""
        self.presence.left(link, conversation)
        self._unsubscribe(link, conversation)

    # Changes come in

    def _on_messages(self, batches: list[Batch], **_: object) -> None:
        for batch in batches:
            if batch.conversation in self.topics:
                self.apply(batch)
            self.bus.publish_batch(batch)

    def apply(self, batch: Batch) -> None:
        """Take a change from wherever it comes; sessions get it in order, at once or after the hole is filled."""
        topic = self.topics.get(batch.conversation)
        if topic is None or batch.upto <= topic.position:
            return
        for due in topic.take(batch, ring_bytes=self.ring_bytes):
            self._deliver(topic, due)
        if topic.early or topic.early_summary is not None:
            self.marks.follow(topic)
        if topic.hole:
            metrics.holes.inc()
            self._repair_later(topic)

    def _deliver(self, topic: Topic, batch: Batch) -> None:
        alive = self.roster.alive
        metrics.deliveries.inc(batch.count * len(topic.links))
        if batch.fences or SYSTEM in batch.json:
            self.presence.changed(topic.conversation)
        for link in list(topic.links):
            session = link.session
            session.offer(batch, mute=not alive)
            if session.ready:
                link.wake()
            if batch.fences and topic.conversation not in session.feeds:
                self._end(link, topic.conversation)

    def _repair_later(self, topic: Topic) -> None:
        if not topic.repairing:
            topic.repairing = True
            wait = min(max(HOLE_S[0], 2 * self.bus.lag_s), HOLE_S[1])
            asyncio.get_running_loop().call_later(wait, self._repair, topic, topic.position)

    def _repair(self, topic: Topic, position: int) -> None:
        """Read a hole that stayed; one that was filled and followed by another gets its own time."""
        topic.repairing = False
        if topic.hole and topic.position == position:
            metrics.repairs.labels("hole").inc()
            self.spawn(self.catch_up(topic))
        elif topic.hole:
            self._repair_later(topic)

    async def catch_up(self, topic: Topic) -> None:
        """Read what a topic lacks, as of now: whoever writes on will be heard by the bus.

        One at a time; whoever asks meanwhile has it look once more. Each new session asks: were each to read for
        itself, a process that is behind would read every page for every one of them. What waited for changes that
        the database does not have is of another life of it, and is dropped: what is published was committed before.
        """
        topic.asked = True
        if topic.reading:
            return
        topic.reading = True
        try:
            while topic.asked and self.topics.get(topic.conversation) is topic:
                topic.asked, waited = False, list(topic.waiting.items())
                page = await self._page(topic.conversation, topic.position)
                if page is not None and page.upto > topic.position:
                    self.apply(page)
                    topic.asked = topic.asked or page.cut
                if page is not None and not page.cut:
                    topic.waiting = dict(one for one in topic.waiting.items() if one not in waited)
        finally:
            topic.reading = False

    async def _page(self, conversation: str, since: int) -> Batch | None:
        while conversation in self.topics:
            try:
                return await self.feed.page(conversation, since)
            except psycopg.Error as error:
                logger.debug("the feed of %s can't be read now: %s", conversation, error)
                await asyncio.sleep(RETRY_S)
        return None

    # Sessions catch up

    def pump(self, link: Link) -> None:
        """Feed a session what it lacks, as its credit allows: from the ring, else from the database."""
        while self.roster.alive and (wanted := link.session.next_read()) is not None:
            conversation, since = wanted
            topic = self.topics.get(conversation)
            if topic is None:
                link.session.feeds.read_failed(conversation)
                return
            recent = [] if link.session.feeds.begins_anew(conversation) else topic.recent(since)
            for batch in recent:
                link.session.fed(batch, position=topic.position)
            if not recent:
                self.spawn(self._read_for(link, conversation, since))
            elif conversation not in link.session.feeds:
                self._end(link, conversation)
        if link.session.ready:
            link.wake()

    async def _read_for(self, link: Link, conversation: str, since: int) -> None:
        """Feed a session one page. Whatever comes between, the conversation stays to be read."""
        try:
            page = await self._page(conversation, since)
            fed = page is not None and self._feed_page(link, page)
        except BaseException:
            link.session.feeds.read_failed(conversation)
            raise
        if not fed:
            link.session.feeds.read_failed(conversation)
            return
        if conversation not in link.session.feeds:
            self._end(link, conversation)
        self.pump(link)
        if link.session.ready:
            link.wake()

    def _feed_page(self, link: Link, page: Batch) -> bool:
        """Hand a page to the topic and to the session that asked for it. Returns whether the session took it."""
        topic = self.topics.get(page.conversation)
        if topic is None:
            return False
        if page.upto > topic.position:
            self.apply(page)
        if not self.roster.alive:
            return False
        link.session.fed(page, position=topic.position)
        return True

    # Marks

    def _on_receipts(self, marks: dict[str, list[DeviceMark]], **_: object) -> None:
        for conversation, moved in marks.items():
            self.bus.publish_marks(conversation, moved)
        self.spawn(self.marks.show_all(marks))

    # Presence and typing

    def _on_presence(self, users: set[str], **_: object) -> None:
        self.presence.hint(users)
        self.bus.publish_moment(PresenceEvent(users=list(users)))

    def _on_moment(self, moment: Moment) -> None:
        if isinstance(moment, PresenceEvent):
            self.presence.hint(moment.users)
        else:
            self.typists.show(moment)

    # What hints lost

    async def check(self, conversations: list[str]) -> None:
        """Compare topics with the database and read what they lack. Raises psycopg.Error."""
        found = await self.feed.last_seqs(conversations)
        topics = [topic for one in found if (topic := self.topics.get(one)) is not None]
        for topic in topics:
            if not (topic.joined or self.bus.deaf):  # the first try was lost
                self.bus.join(topic.conversation)
        stale = [topic for topic in topics if found[topic.conversation] > topic.position]
        metrics.repairs.labels("pass").inc(len(stale))
        for start in range(0, len(stale), AT_ONCE // 2):  # half of a statement is for other readers
            await asyncio.gather(*map(self.catch_up, stale[start : start + AT_ONCE // 2]))

    # Time and trouble

    def tick(self) -> None:
        """Once a second, and when the lease holds again: say what is due, after 60 s without credit goodbye."""
        now = monotonic()
        for link in self.people.links:
            link.session.tick(now)
            if link.session.closing is not None:
                link.wake()
            elif link.session.feeds.behind:
                self.pump(link)  # its credit, the lease or the database may have come back
            elif link.session.ready:
                link.wake()

    async def lease_renewed(self) -> None:
        """The lease had lapsed: look for revoked devices, then for everything else. Raises psycopg.Error."""
        await self.people.lease_renewed()
        self.compare_all()

    def close_all(self, code: CloseCode, *, reconnect_after: Any, discard: bool = False) -> None:
        """Say goodbye to every session, and with `discard` nothing else; `reconnect_after()` gives each its own ms."""
        for link in self.people.links:
            link.session.close(code, reconnect_after=reconnect_after(), discard=discard)
            link.wake()

    def compare_all(self) -> None:
        """Everything here is to be compared with the database soon."""
        self.check_all.set()
        self.presence.check_all.set()

    def _joined(self, conversation: str) -> None:
        if conversation == PRESENCE_GROUP:
            self.presence.joined()
        if topic := self.topics.get(conversation):  # each time: an earlier nonce may come first
            topic.joined = True
            self.spawn(self.catch_up(topic))
            self.spawn(self.marks.joined(conversation))

    def _bus_returned(self) -> None:
        for conversation, topic in self.topics.items():
            if not topic.joined:
                self.bus.join(conversation)
        self.compare_all()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it beside everything else; it ends with the hub."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a task of the hub failed", exc_info=task.exception())
            self.check_all.set()
