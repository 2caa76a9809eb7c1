"""One server process around a session, step by step: the hub's bookkeeping without its event loop.

It holds topics, reads that are on their way, and what is in flight to the client; whoever drives it
decides what happens next. It also weighs what the session sends against the window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from messaging.hub.topic import Topic
from messaging.protocol.codec import JSON
from messaging.protocol.frames import Events, Frame, Hello, Left, Mark, Receipt, ServerFrame
from messaging.protocol.server.actions import Action, Authenticate, Identity, Standing, StoreMarks
from messaging.protocol.server.batch import Batch
from messaging.protocol.server.session import Session
from messaging.protocol.server.window import Window
from tests.unit.messaging.hub.reference import ME, Broken, Log

PAGE = 3  # messages of one read
RING_BYTES = 700  # about six messages
WINDOW_MESSAGES, WINDOW_BYTES = 5, 1_200
MOST_TURNS = 100  # a ring and a window of this size are done much sooner


class Link:
    """A session and its socket."""

    def __init__(self) -> None:
        self.session = Session(JSON, window=Window(messages=WINDOW_MESSAGES, size=WINDOW_BYTES))
        self.wire: deque[ServerFrame] = deque()
        self.standings: list[Standing] = []
        self.auto_ack = False
        self._flight: list[tuple[str, int, int, int]] = []

    def wake(self) -> None:
        """Nobody sleeps here."""

    def flush(self) -> list[Mark]:
        """Put on the wire what the session has to say; the marks to store for a client that never acks."""
        marks = []
        while (data := self.session.outgoing()) is not None:
            for frame, size in _parts(data):
                self._weigh(frame, size)
                self.wire.append(frame)
            marks += self.session.written()
            if self.auto_ack:
                self._flight.clear()
        return marks

    def acknowledged(self, marks: list[Mark]) -> None:
        """The client said how far it is."""
        upto = {mark.conversation: mark.delivered for mark in marks}
        self._flight = [one for one in self._flight if one[1] > upto.get(one[0], 0)]

    def _weigh(self, frame: Frame, size: int) -> None:
        if isinstance(frame, Left):
            self._flight = [one for one in self._flight if one[0] != frame.conversation]
        if not isinstance(frame, Events):
            return
        messages, weight = sum(one[2] for one in self._flight), sum(one[3] for one in self._flight)
        if messages >= WINDOW_MESSAGES or weight >= WINDOW_BYTES:
            raise Broken(f"{messages} messages and {weight} bytes are in flight, and then: {frame}")
        self._flight.append((frame.conversation, frame.upto, len(frame.messages), size))


@dataclass
class Reading:
    """A page on its way from the database; `early` is the table as it was when the page was asked for."""

    link: Link
    conversation: str
    since: int
    early: Batch


class Process:
    """The topics of one process, and at most one session."""

    def __init__(self, logs: dict[str, Log], *, store: Callable[[Mark], None]) -> None:
        self.logs, self._store = logs, store
        self.topics: dict[str, Topic] = {}
        self.link: Link | None = None
        self.readings: list[Reading] = []

    def connect(self, hello: Hello, standings: list[Standing]) -> None:
        """A client says hello; its standings are as of now."""
        self.link = Link()
        self.link.standings, self.link.auto_ack = standings, hello.auto_ack
        [action] = self.receive([hello])
        if not isinstance(action, Authenticate):
            raise Broken("hello is not about who it is")

    def welcome(self, *, epoch: str) -> None:
        """The device was found: open its session, perhaps long after its standings were read."""
        link = self.link
        if link is None:
            return
        link.session.open(
            Identity(device="mine", user=ME, session="this"), link.standings, epoch=epoch
        )
        for standing in link.standings:
            if standing.conversation in link.session.feeds:
                self._subscribe(link, standing)
        self.pump()

    def refresh(self, standings: list[Standing]) -> None:
        """Memberships changed."""
        link = self.link
        if link is None or link.session.identity is None:
            return
        for standing in standings:
            if link.session.join(standing):
                self._subscribe(link, standing)
        self.pump()

    def disconnect(self, *, alone: bool) -> None:
        """The socket is gone; topics stay while others use them."""
        self.link = None
        if alone:
            self.topics.clear()
        for topic in self.topics.values():
            topic.links.clear()

    def _subscribe(self, link: Link, standing: Standing) -> None:
        conversation = standing.conversation
        if conversation not in self.topics:
            self.topics[conversation] = Topic(conversation, standing.last_seq)
        topic = self.topics[conversation]
        topic.links.add(link)
        link.session.feeds.settle(conversation, position=topic.position)

    def apply(self, batch: Batch) -> None:
        """A change comes in from wherever."""
        topic = self.topics.get(batch.conversation)
        if topic is None:
            return
        for due in topic.take(batch, ring_bytes=RING_BYTES):
            for link in list(topic.links):
                link.session.offer(due)
                self._leave(due.conversation)

    def catch_up(self, conversation: str) -> None:
        """Read what a topic lacks."""
        topic = self.topics.get(conversation)
        if topic is not None:
            self.apply(self.logs[conversation].page(topic.position, limit=PAGE))

    def pump(self) -> None:
        """Feed the session from the ring, or ask the database."""
        link, turns = self.link, 0
        while link is not None and (wanted := link.session.next_read()) is not None:
            conversation, since = wanted
            turns += 1
            if turns > MOST_TURNS:
                raise Broken(f"a session at {since} is fed what does not bring it on")
            topic = self.topics[conversation]
            recent = topic.recent(since)
            for batch in recent:
                link.session.fed(batch, position=topic.position)
            if not recent:
                early = self.logs[conversation].page(since, limit=PAGE)
                self.readings.append(Reading(link, conversation, since, early))
            self._leave(conversation)

    def arrive(self, reading: Reading, *, late: bool) -> None:
        """A page is here; the database read it late or early."""
        self.readings.remove(reading)
        topic = self.topics.get(reading.conversation)
        if topic is None or reading.link is not self.link:
            return
        page = reading.early
        if late:
            page = self.logs[reading.conversation].page(reading.since, limit=PAGE)
        if page.upto > topic.position:
            self.apply(page)
        self.link.session.fed(page, position=topic.position)
        self._leave(reading.conversation)
        self.pump()

    def _leave(self, conversation: str) -> None:
        if self.link is not None and conversation not in self.link.session.feeds:
            self.topics[conversation].links.discard(self.link)

    def receive(self, frames: list[Frame]) -> list[Action]:
        """The client says something."""
        assert self.link is not None
        actions = self.link.session.receive(JSON.encode(frames))
        for frame in frames:
            if isinstance(frame, Receipt):
                self.link.acknowledged(frame.marks)
        for action in actions:
            if isinstance(action, StoreMarks):
                for mark in action.marks:
                    self._store(mark)
        self.pump()
        return actions

    def flush(self) -> None:
        """The socket takes what there is to write."""
        if self.link is not None:
            for mark in self.link.flush():
                self._store(mark)
            if self.link.auto_ack:
                self.pump()


def _parts(data: str | bytes) -> list[tuple[ServerFrame, int]]:
    text = data.encode() if isinstance(data, str) else data
    listed = text if text.startswith(b"[") else b"[%b]" % text
    parts = msgspec.json.decode(listed, type=list[msgspec.Raw])
    return [
        (frame, len(bytes(part))) for part in parts for frame in JSON.decode_server(bytes(part))
    ]
