"""What the server's end of a session decides: frames in, frames and actions out.

No I/O, no clock, no Django. The consumer carries out the actions and reports back; the hub offers
live batches. A session holds cursors and a bounded window, never a backlog.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from messaging.protocol import frames
from messaging.protocol.codec import Codec
from messaging.protocol.errors import CloseCode, FrameError, Refusal, Refused
from messaging.protocol.server import actions, answers
from messaging.protocol.server.actions import AboutPresence, Identity, Standing, Stored, Write
from messaging.protocol.server.admission import MAX_REQUESTS, OVERLOADED_RECONNECT_MS, Admission
from messaging.protocol.server.batch import Batch
from messaging.protocol.server.feeds import Feed, Feeds
from messaging.protocol.server.outgoing import Outgoing
from messaging.protocol.server.resume import goes_on, rejoin, resume
from messaging.protocol.server.share import Share
from messaging.protocol.server.typing_limit import TypingLimit
from messaging.protocol.server.window import SLOW_RECONNECT_MS, SLOW_S, Window
from messaging.protocol.state import TRANSITIONS, IllegalFrame, State, advance


class Session:
    """The server's end of one WebSocket connection.

    `outgoing` gives the next WebSocket message; `closing` is set once the socket is to be closed
    after everything outgoing was written. `on_refused` is told of every request that is refused.
    """

    def __init__(self, codec: Codec, *, window: Window | None = None) -> None:
        self.codec = codec
        self.state = State.NEW
        self.identity: Identity | None = None
        self.feeds = Feeds()
        self.window = window or Window()
        self.closing: CloseCode | None = None
        self._discarded = False
        self._hello = frames.Hello()
        self.on_refused: Callable[[Refusal], None] = lambda _: None
        self._out = Outgoing(codec)
        self._admission = Admission()
        self.share = Share()
        self._typing = TypingLimit()

    # What the client says

    def receive(self, data: str | bytes) -> list[actions.Action]:
        """Take one WebSocket message; return what is to be done for it."""
        self._out.heard()
        todo: list[actions.Action] = []
        for frame in self.codec.decode_client(data):
            if self.state is State.CLOSING:
                break
            if isinstance(frame, FrameError):
                self._refuse(Refused(frame.refusal, frame.detail), frame)
                self._misbehaved(CloseCode.ABUSE)
            elif (self.state is State.LIVE and type(frame) in STAY_LIVE) or self._advances(frame):
                self._admission.behaved()
                self._HANDLERS[type(frame)](self, frame, todo)
        return todo

    def _advances(self, frame: frames.ClientFrame) -> bool:
        """Move to the state after the frame, or refuse it."""
        try:
            self.state = advance(self.state, frame.name, role="server")
        except IllegalFrame:
            early = Refusal.ALREADY_OPEN if isinstance(frame, frames.Hello) else Refusal.NOT_READY
            self._refuse(early, frame)
            self._misbehaved(CloseCode.ABUSE)
            return False
        return True

    def _on_hello(self, frame: frames.Hello, todo: list[actions.Action]) -> None:
        self._hello = frame
        todo.append(actions.Authenticate(frame.token))

    def _on_write(self, frame: Write, todo: list[actions.Action]) -> None:
        known = isinstance(frame, frames.Send) and frame.conversation in self.feeds
        refusal = self._admission.admit(frame, known=known)
        if refusal is None:  # now, not when it is done: what stands behind it may have come with it
            if (refused := self.share.allowance.write()) is None:
                todo.append(actions.Submit(frame))
            else:
                self.settle(frame, refused)
            return
        self._refuse(refusal, frame)
        if refusal is Refusal.OVERLOADED:
            self._misbehaved(CloseCode.OVERLOADED)
        elif refusal is Refusal.AFTER_REFUSED and isinstance(frame, frames.Send):
            code = self._admission.unheeded(frame.conversation)
            if code is not None:
                self.close(code, reconnect_after=OVERLOADED_RECONNECT_MS)

    def _on_receipt(self, frame: frames.Receipt, todo: list[actions.Action]) -> None:
        self.share.hint(parts=len(frame.marks))
        if frame.ref is not None and (refusal := self._admission.admit_bodiless()) is not None:
            self._refuse(refusal, frame)
            return
        moved, ahead = self.feeds.acknowledge(frame.marks, self.window, ref=frame.ref)
        if ahead:  # that is the answer; the other marks are stored all the same
            self._refuse(Refused(Refusal.CURSOR_AHEAD, ahead), frame)
            if frame.ref is not None:
                self._admission.answered()
        ref = None if ahead else frame.ref
        if moved or ref is not None:
            todo.append(actions.StoreMarks(moved, ref))

    def _on_sync(self, frame: frames.Sync, todo: list[actions.Action]) -> None:
        feed = self.feeds.get(frame.conversation)
        if feed is None:
            self._refuse(Refusal.NO_SUCH_CONVERSATION, frame)
        elif self._admits(frame):
            # Never from beyond the cursor: the end of the stay may lie between.
            todo.append(actions.Read(frame, min(frame.since, feed.cursor)))

    def _on_presence(self, frame: AboutPresence, todo: list[actions.Action]) -> None:
        if self._admits(frame):
            todo.append(actions.about(frame))

    def _on_typing(self, frame: frames.Typing, todo: list[actions.Action]) -> None:
        feed = self.feeds.get(frame.conversation)
        if feed is None or feed.leaves_at is not None:
            self._refuse(Refusal.NO_SUCH_CONVERSATION, frame)
        elif self.share.hint() and self._typing.admits(frame):
            todo.append(actions.ShowTyping(frame))

    def _admits(self, frame: frames.Sync | AboutPresence) -> bool:
        """Count a request without a body, or refuse it."""
        if (refusal := self._admission.admit_bodiless()) is not None:
            self._refuse(refusal, frame)
            self._misbehaved(CloseCode.OVERLOADED)
        elif (refused := self.share.allowance.request()) is not None:
            self._admission.answered()
            self._refuse(refused, frame)
        else:
            return True
        return False

    def _on_ping(self, frame: frames.Ping, _: list[actions.Action]) -> None:
        self.share.hint()
        self._out.push(frames.Pong(ref=frame.ref), bare=True)

    _HANDLERS: ClassVar[dict[type[frames.Frame], Callable[..., None]]] = {
        frames.Hello: _on_hello,
        frames.Send: _on_write,
        frames.Edit: _on_write,
        frames.Delete: _on_write,
        frames.Receipt: _on_receipt,
        frames.Sync: _on_sync,
        frames.PresenceSet: _on_presence,
        frames.PresenceWatch: _on_presence,
        frames.Typing: _on_typing,
        frames.Ping: _on_ping,
    }

    # What became of it

    def open(self, identity: Identity, standings: Iterable[Standing], *, epoch: str) -> None:
        """Welcome the device: list what it lacks and start its feeds."""
        self.identity = identity
        if self.state is State.CLOSING:
            return  # goodbye was said while the device was looked up
        plan = resume(self._hello, standings, epoch=epoch)
        self.feeds.ended = plan.cursors
        for standing, since in plan.starts:
            self.feeds.start(standing, since=since)
        self.state = advance(self.state, "welcome", role="server")
        for frame in answers.opening(self._hello, identity, plan, epoch=epoch, window=self.window):
            self._out.push(frame)
        # It may hold 25,000 cursors, for as long as the session lives; what is needed of them is in the plan.
        self._hello = frames.Hello(auto_ack=self._hello.auto_ack)

    def join(self, standing: Standing) -> bool:
        """Take the user's newest stay, perhaps begun while this session was open. Returns whether a feed began."""
        feed = self.feeds.get(standing.conversation)
        cursor = self.feeds.ended.get(standing.conversation)
        if feed is not None:
            feed.renew(standing)
        elif self.state is State.LIVE and goes_on(standing, cursor):
            since, told = rejoin(standing, cursor)
            self.feeds.start(standing, since=since)
            for frame in told:
                self._out.push(frame)
            return True
        return False

    def settle(self, frame: Write, outcome: Stored | Refused) -> None:
        """Answer a write."""
        if isinstance(outcome, Refused):
            if outcome.retry_after is not None:
                self._admission.block(frame)
            self._refuse(outcome, frame)
        else:
            self._out.push(answers.stored(frame, outcome))
        self._admission.answered(frame)

    def confirm(self, ref: str | int | None) -> None:
        """Answer a request that has nothing to tell but that it is done; silently if it has no ref."""
        self._admission.answered()
        if ref is not None:
            self._out.push(frames.Ok(ref=ref))

    def decline(self, frame: AboutPresence, refusal: Refusal) -> None:
        """Answer a request about presence that is not done."""
        self._admission.answered()
        self._refuse(refusal, frame)

    def answer_watch(
        self, frame: frames.PresenceWatch, users: list[frames.UserPresence], *, stale: bool
    ) -> None:
        """Answer the client's watch list with how these users are here."""
        if self._out.heavy:
            self.decline(frame, Refusal.OVERLOADED)
            return
        self._admission.answered()
        self._out.push(frames.Presence(users=users, stale=stale, ref=frame.ref))

    def answer_sync(self, frame: frames.Sync, page: Batch | Refused) -> None:
        """Answer the client's own `sync`; the page is counted like a live frame and needs credit as one."""
        self._admission.answered()
        feed = self.feeds.get(frame.conversation)
        refusal = page.refusal if isinstance(page, Refused) else Refusal.NO_SUCH_CONVERSATION
        if isinstance(page, Refused) or feed is None or self.identity is None:
            self._refuse(refusal, frame)
        elif self.window.exhausted:
            self._refuse(Refusal.OVERLOADED, frame)
        elif feed.lacks(page, since=page.since):
            self._out.push(self.feeds.restart(page, self.window))
            self._out.push(answers.nothing(page, ref=frame.ref))
        else:
            feed.hear(page, self.identity.user)
            page = feed.permitted(page)
            self._send_events(page, self.codec.part(answers.page(page, ref=frame.ref)))

    # What the conversations do

    def offer(self, batch: Batch, *, mute: bool = False) -> None:
        """Take the next live change of a conversation; fall behind without credit, or while `mute`."""
        feed = self.feeds.get(batch.conversation)
        if feed is None or self.identity is None:
            return
        feed.hear(batch, self.identity.user)
        if self.closing is not None or not feed.live or batch.upto <= feed.cursor:
            return
        if mute or self.window.exhausted:
            self.feeds.fall_behind(batch.conversation)
        else:
            self._advance_feed(feed, batch)

    def fed(self, page: Batch, *, position: int) -> None:
        """Take a page read for a conversation that is behind; at the hub's `position` it is live again."""
        feed = self.feeds.get(page.conversation)
        if feed is None or self.identity is None or self.closing is not None:
            return
        feed.hear(page, self.identity.user)
        if page.since <= feed.cursor < page.upto and not self.window.exhausted:
            self._advance_feed(feed, page)
        self.feeds.settle(page.conversation, position=position)

    def next_read(self) -> tuple[str, int] | None:
        """The (conversation, since) to read from the database next; None without need or credit."""
        if self.state is not State.LIVE or not self.window.roomy:
            return None
        return self.feeds.next_read()

    def offer_marks(
        self, conversation: str, marks: list[frames.DeviceMark], encoded: bytes
    ) -> None:
        """Take marks that moved; held back newest-only until the feed is live and the client keeps up.

        A feed that is behind may end before it reaches what the marks tell of.
        """
        feed = self.feeds.get(conversation)
        if feed is None or self.state is not State.LIVE:
            return
        if not (feed.live and self._keeps_up and self._out.push_marks(conversation, encoded)):
            self._out.hold_marks(conversation, marks, encoded)

    def offer_presence(
        self, users: list[frames.UserPresence], encoded: bytes, *, stale: bool = False
    ) -> None:
        """Take news of users; held back newest-only while the client does not keep up.

        That presence is stale is told while nothing may be told of others, for it tells of nobody.
        """
        if self.state is not State.LIVE:
            return
        if not (self._keeps_up and self._out.push_presence(encoded, bare=stale and not users)):
            self._out.hold_presence(users, stale=stale)

    def offer_typing(self, conversation: str, encoded: bytes) -> None:
        """Take that somebody is typing; dropped unless the client keeps up and has all of the conversation."""
        if self._keeps_up and self.state is State.LIVE and self.feeds.is_live(conversation):
            self._out.push_encoded(encoded)

    def _advance_feed(self, feed: Feed, batch: Batch) -> None:
        if feed.lacks(batch, since=feed.cursor):
            self._out.push(self.feeds.restart(batch, self.window))
            return
        batch = feed.permitted(batch.after(feed.cursor) if feed.cursor > batch.since else batch)
        self._send_events(batch, batch.encode(self.codec))
        feed.cursor = batch.upto
        if feed.over:
            self.feeds.end(batch.conversation)
            self._admission.forget(batch.conversation)
            self._out.forget(batch.conversation)
            self.window.forget(batch.conversation)
            self._out.push(frames.Left(conversation=batch.conversation, upto=batch.upto))

    def _send_events(self, batch: Batch, encoded: bytes) -> None:
        self._admission.show(batch, self.identity)
        self._out.push_events(encoded)
        self.window.sent(
            batch.conversation, upto=batch.upto, messages=batch.count, size=len(encoded)
        )

    # What leaves

    @property
    def _keeps_up(self) -> bool:
        return self._out.patient and not self.window.exhausted

    @property
    def ready(self) -> bool:
        """Whether there is something to write."""
        return bool(len(self._out)) or (self._out.holding and self._keeps_up)

    @property
    def congested(self) -> bool:
        """Whether so many frames wait untaken that further requests are not read."""
        return len(self._out) > MAX_REQUESTS

    def outgoing(self, *, mute: bool = False) -> str | bytes | None:
        """The next WebSocket message, or None. While `mute` it tells of nobody else; the rest waits.

        What came after the discarded is not told either: a revoked device's answers may still be on their way.
        """
        if mute or self._discarded:
            return self._out.take_bare()
        if self._out.holding and self._keeps_up:
            self._out.release_marks(self.feeds.is_live)
            self._out.release_presence()
        return self._out.take()

    def written(self) -> list[frames.Mark]:
        """What `outgoing` gave was written. For auto_ack sessions: the marks to store, once nothing waits."""
        if not self._hello.auto_ack or len(self._out):
            return []
        self._out.heard()  # or marks would be held for ever from a client that only listens
        return self.feeds.delivered(self.window.written())

    def tick(self, now: float) -> None:
        """Notice that time passed (s): a session without credit for 60 s is told goodbye."""
        self._typing.tick()
        if self.window.starved_s(now) >= SLOW_S:
            self.close(CloseCode.SLOW, reconnect_after=SLOW_RECONNECT_MS)

    def close(
        self, code: CloseCode, *, reconnect_after: int | None = None, discard: bool = False
    ) -> None:
        """Say goodbye; the socket closes with `code` when everything outgoing was written, or discarded.

        `reconnect_after` is in ms and told only for codes that permit coming back.
        """
        if self.closing is not None and (code is not CloseCode.REVOKED or self.closing is code):
            return  # a revocation comes before what is still to be written for any other reason
        if discard:
            self._discarded = True
            self._out.discard()
            self.window.written()  # it never was: nothing of it is to be marked
        self.closing = code
        self.state = advance(self.state, "goodbye", role="server")
        self.feeds.stop_reading()
        self._out.push(answers.goodbye(code, reconnect_after=reconnect_after), bare=True)

    # Refusals

    def _refuse(self, why: Refusal | Refused, asked: frames.ClientFrame | FrameError) -> None:
        refused = why if isinstance(why, Refused) else Refused(why)
        if refused.current is not None and self._out.heavy:
            refused.current = None
        self.on_refused(refused.refusal)
        self._out.push(answers.refused(refused, asked), bare=not refused.refusal.judged)
        if refused.refusal is Refusal.RATE_LIMITED:
            self._misbehaved(CloseCode.OVERLOADED, hasty=True)

    def _misbehaved(self, code: CloseCode, *, hasty: bool = False) -> None:
        if self._admission.misbehaved(code, hasty=hasty) is not None:
            self.close(code, reconnect_after=OVERLOADED_RECONNECT_MS)


# The table's most frequent answer, looked up once: what a live session takes and stays live.
STAY_LIVE = frozenset(
    kind for kind in Session._HANDLERS if TRANSITIONS.get((State.LIVE, kind.tag())) is State.LIVE
)
