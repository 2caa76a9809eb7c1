"""What the server's end of a session decides: frames in, frames and actions out.

No I/O, no clock, no Django. The consumer carries out the actions and reports back; the hub offers
live batches. Every conversation of a session is either *live* (at the hub's position) or *behind*
(read from the database as credit allows); a session holds cursors, never a backlog.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeAlias

import msgspec

from messaging.protocol import frames
from messaging.protocol.batch import Batch
from messaging.protocol.content import is_id
from messaging.protocol.errors import CloseCode, FrameError, Refusal, Refused
from messaging.protocol.state import TRANSITIONS, IllegalFrame, State, advance
from messaging.protocol.window import Window

if TYPE_CHECKING:
    from messaging.protocol.codec import Codec

MAX_REQUESTS = 256  # unanswered requests of one session
MAX_REQUEST_BYTES = 1_048_576  # bytes of their bodies
ABUSE_LIMIT = (
    64  # refusals for bad or excessive frames, less one for every good frame, before the close
)
LISTED = 200  # conversations in `welcome` itself; the rest follow as `conversation` frames
SLOW_S = 60.0  # a session without credit for so long is told goodbye
UNHEARD_BYTES = (
    262_144  # bytes of other frames sent since the client was last heard; then marks are held
)
READS = 4  # pages on their way for one session
OUTGOING_BYTES = 65_536  # one WebSocket message stays below, unless a single frame is larger

Write: TypeAlias = frames.Send | frames.Edit | frames.Delete


class Stored(NamedTuple):
    """Where a committed write stands; `repeated` tells a repeat of an earlier one. `created` is in ms."""

    message: str
    seq: int
    position: int
    version: int
    created: int
    repeated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Whom the session belongs to."""

    device: str
    user: str
    session: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A user's place in a conversation, as the database has it. `delivered` is the device's stored mark, if any."""

    conversation: str
    kind: str
    title: str
    last_seq: int
    joined_seq: int
    left_seq: int | None = None
    since_joined: bool = False
    delivered: int | None = None
    read: int = 0


class Authenticate(NamedTuple):
    """Find the device of this token, then call `open` or `refuse`."""

    token: str | None


class Submit(NamedTuple):
    """Write this, then call `settle` with the same frame."""

    frame: Write


class StoreMarks(NamedTuple):
    """Store these marks, then call `confirm` if there is a ref."""

    marks: list[frames.Mark]
    ref: str | int | None


class Read(NamedTuple):
    """Read the feed for the client's own `sync`, then call `answer_sync`."""

    frame: frames.Sync


Action: TypeAlias = Authenticate | Submit | StoreMarks | Read


@dataclass(slots=True, kw_only=True)
class Feed:
    """One conversation of a session. `cursor` is what was sent, `known` the newest change heard of."""

    cursor: int
    known: int
    joined: int
    visible_from: int = 0
    leaves_at: int | None = None
    live: bool = False
    delivered: int = 0
    read: int = 0


@dataclass(slots=True)
class Outbox:
    """Encoded frames that wait for the socket, and the newest marks held back meanwhile."""

    encoded: list[bytes] = field(default_factory=list)
    held_marks: dict[str, dict[str, frames.DeviceMark]] = field(default_factory=dict)


class Session:
    """The server's end of one WebSocket connection.

    `outgoing` gives the next WebSocket message; `closing` is set once the socket is to be closed
    after everything outgoing was written.
    """

    def __init__(self, codec: Codec, *, now: float, window: Window | None = None) -> None:
        self.codec = codec
        self.state = State.NEW
        self.identity: Identity | None = None
        self.feeds: dict[str, Feed] = {}
        self.window = window or Window()
        self.closing: CloseCode | None = None
        self.behind: dict[
            str, None
        ] = {}  # an ordered set: conversations to read, the longest waiting first
        self.reading: set[str] = set()  # conversations whose page is on its way
        self.hello = frames.Hello()
        self.auto_ack = False
        self._outbox = Outbox()
        self._blocked: dict[
            str, str
        ] = {}  # conversation -> client_id of the refused send that must come first
        self._requests = self._request_bytes = self._abuse = self._unheard = 0
        self._starved_since: float | None = None
        self.heard = now

    # What the client says

    def receive(self, data: str | bytes, *, now: float) -> list[Action]:
        """Take one WebSocket message; return what is to be done for it."""
        self.heard, self._unheard = now, 0
        actions: list[Action] = []
        for frame in self.codec.decode_client(data):
            if self.state is State.CLOSING:
                break
            if isinstance(frame, FrameError):
                self._refuse(frame.refusal, frame.detail, ref=frame.ref)
                self._count_abuse()
                continue
            if (self.state is State.LIVE and type(frame) in STAY_LIVE) or self._advances(frame):
                self._HANDLERS[type(frame)](self, frame, actions)
                if self._abuse:
                    self._abuse -= 1
        return actions

    def _advances(self, frame: frames.ClientFrame) -> bool:
        """Move to the state after the frame, or refuse it."""
        try:
            self.state = advance(self.state, frame.name, role="server")
        except IllegalFrame:
            refusal = Refusal.ALREADY_OPEN if isinstance(frame, frames.Hello) else Refusal.NOT_READY
            self._refuse(refusal, ref=frame.ref, client_id=getattr(frame, "client_id", None))
            self._count_abuse()
            return False
        return True

    def _on_hello(self, frame: frames.Hello, actions: list[Action]) -> None:
        self.hello = frame
        self.auto_ack = frame.auto_ack
        actions.append(Authenticate(frame.token))

    def _on_write(self, frame: Write, actions: list[Action]) -> None:
        size = len(getattr(frame, "body", ""))
        if not self._well_formed(frame):
            return
        if self._requests >= MAX_REQUESTS or self._request_bytes + size > MAX_REQUEST_BYTES:
            self._block(frame)
            self._refuse(Refusal.OVERLOADED, ref=frame.ref, client_id=frame.client_id)
            self._count_abuse(CloseCode.OVERLOADED)
            return
        if isinstance(frame, frames.Send) and frame.conversation in self._blocked:
            if self._blocked[frame.conversation] != frame.client_id:
                self._refuse(Refusal.AFTER_REFUSED, ref=frame.ref, client_id=frame.client_id)
                return
            del self._blocked[frame.conversation]
        self._requests += 1
        self._request_bytes += size
        actions.append(Submit(frame))

    def _well_formed(self, frame: Write) -> bool:
        """Whether every id is one; a known conversation needs no look."""
        if isinstance(frame, frames.Send):
            if frame.conversation not in self.feeds and not is_id(frame.conversation):
                self._refuse(Refusal.NO_SUCH_CONVERSATION, ref=frame.ref, client_id=frame.client_id)
                return False
            message = frame.reply_to
        else:
            message = frame.message
        if message is not None and not is_id(message):
            self._refuse(Refusal.NO_SUCH_MESSAGE, ref=frame.ref, client_id=frame.client_id)
            return False
        return True

    def _on_receipt(self, frame: frames.Receipt, actions: list[Action]) -> None:
        moved = []
        for mark in frame.marks:
            feed = self.feeds.get(mark.conversation)
            if feed is None:
                continue  # a mark of a conversation just left: nothing to say, nothing to store
            delivered = max(mark.delivered, mark.read)
            if delivered > feed.known:
                self._refuse(Refusal.CURSOR_AHEAD, f"{delivered} > {feed.known}", ref=frame.ref)
                continue
            self._acknowledge(mark.conversation, feed, delivered)
            if delivered > feed.delivered or mark.read > feed.read:
                feed.delivered, feed.read = (
                    max(feed.delivered, delivered),
                    max(feed.read, mark.read),
                )
                moved.append(
                    frames.Mark(
                        conversation=mark.conversation, delivered=feed.delivered, read=feed.read
                    )
                )
        if moved or frame.ref is not None:
            actions.append(StoreMarks(moved, frame.ref))

    def _acknowledge(self, conversation: str, feed: Feed, delivered: int) -> None:
        if self.window.acknowledged(conversation, delivered):
            self._starved_since = None

    def _on_sync(self, frame: frames.Sync, actions: list[Action]) -> None:
        if frame.conversation not in self.feeds:
            self._refuse(Refusal.NO_SUCH_CONVERSATION, ref=frame.ref)
        elif self._requests >= MAX_REQUESTS:
            self._refuse(Refusal.OVERLOADED, ref=frame.ref)
            self._count_abuse(CloseCode.OVERLOADED)
        else:
            self._requests += 1
            actions.append(Read(frame))

    def _on_ping(self, frame: frames.Ping, _: list[Action]) -> None:
        self._push(frames.Pong(ref=frame.ref))

    _HANDLERS: ClassVar[dict[type, Callable[..., None]]] = {
        frames.Hello: _on_hello,
        frames.Send: _on_write,
        frames.Edit: _on_write,
        frames.Delete: _on_write,
        frames.Receipt: _on_receipt,
        frames.Sync: _on_sync,
        frames.Ping: _on_ping,
    }

    # What became of it

    def open(self, identity: Identity, standings: Iterable[Standing], *, epoch: str) -> None:
        """Welcome the device: list what it lacks and start its feeds."""
        self.identity = identity
        stale = self.hello.epoch is not None and self.hello.epoch != epoch
        listed: list[frames.ConversationState] = []
        resets: list[str] = []
        for standing in standings:
            since = self._start(standing, stale=stale, resets=resets)
            state = self._enrol(standing, since)
            if state is not None:
                listed.append(state)
        self.state = advance(self.state, "welcome", role="server")
        self._push(
            frames.Welcome(
                device=identity.device,
                user=identity.user,
                session=identity.session,
                epoch=epoch,
                window=frames.Window(
                    messages=self.window.max_messages, bytes=self.window.max_bytes
                ),
                limits=LIMITS,
                conversations=listed[:LISTED],
                ref=self.hello.ref,
            )
        )
        for conversation in resets:
            self._push(frames.Reset(conversation=conversation))
        for state in listed[LISTED:]:
            self._push(_announced(state))

    def _start(self, standing: Standing, *, stale: bool, resets: list[str]) -> int:
        cursor = self.hello.cursors.get(standing.conversation)
        first = max(standing.joined_seq - 1, 0)
        if cursor is None:
            return first if standing.delivered is None else standing.delivered
        if stale or cursor > standing.last_seq:
            resets.append(standing.conversation)
            cursor = 0
        return max(cursor, first) if standing.since_joined else cursor

    def _enrol(self, standing: Standing, since: int) -> frames.ConversationState | None:
        """Start a feed at `since`. Returns the entry to list, or None if the device lacks nothing."""
        last = standing.last_seq if standing.left_seq is None else standing.left_seq
        if standing.left_seq is not None and since >= last:
            return None
        self.feeds[standing.conversation] = Feed(
            cursor=since,
            known=max(last, since),
            joined=standing.joined_seq,
            visible_from=standing.joined_seq if standing.since_joined else 0,
            leaves_at=standing.left_seq,
            delivered=standing.delivered or 0,
            read=standing.read,
        )
        self.behind[standing.conversation] = None
        if since == last:
            return None
        return frames.ConversationState(
            conversation=standing.conversation,
            kind=standing.kind,
            since=since,
            last_seq=last,
            title=standing.title,
        )

    def join(self, standing: Standing) -> None:
        """The user was added to a conversation while this session was open."""
        if standing.conversation in self.feeds or standing.left_seq is not None:
            return
        state = self._enrol(standing, max(standing.joined_seq - 1, 0))
        if state is not None:
            self._push(_announced(state))

    def settle(self, frame: Write, outcome: Stored | Refused) -> None:
        """Answer a write."""
        self._requests -= 1
        self._request_bytes -= len(getattr(frame, "body", ""))
        if isinstance(outcome, Refused):
            if outcome.refusal.retry_after is not None:
                self._block(frame)
            self._refuse(
                outcome.refusal,
                outcome.detail,
                ref=frame.ref,
                client_id=frame.client_id,
                current=outcome.current,
            )
            return
        self._push(
            frames.Ok(
                ref=frame.ref,
                client_id=frame.client_id,
                message=outcome.message,
                seq=outcome.seq,
                position=outcome.position,
                version=outcome.version,
                created=outcome.created,
            )
        )

    def confirm(self, ref: str | int) -> None:
        """Answer a request that has nothing to tell but that it is done."""
        self._push(frames.Ok(ref=ref))

    def answer_sync(self, frame: frames.Sync, page: Batch | Refused) -> None:
        """Answer the client's own `sync`; the page is counted like a live frame."""
        self._requests -= 1
        feed = self.feeds.get(frame.conversation)
        if isinstance(page, Refused) or feed is None:
            refusal = page.refusal if isinstance(page, Refused) else Refusal.NO_SUCH_CONVERSATION
            self._refuse(refusal, ref=frame.ref)
            return
        page = self._permitted(feed, page)
        answer = frames.Events(
            conversation=page.conversation,
            since=page.since,
            upto=page.upto,
            messages=page.messages,
            ref=frame.ref,
        )
        encoded = self.codec.part(answer)
        self.window.sent(
            page.conversation,
            upto=min(page.upto, feed.known),
            messages=page.count,
            size=len(encoded),
        )
        self._outbox.encoded.append(encoded)

    # What the conversation does

    def offer(self, batch: Batch) -> None:
        """Take the next live change of a conversation, or fall behind if there is no credit."""
        feed = self.feeds.get(batch.conversation)
        if feed is None:
            return
        feed.known = max(feed.known, batch.upto)
        if not feed.live or batch.upto <= feed.cursor:
            return
        if self.window.exhausted:
            self._fall_behind(batch.conversation, feed)
        else:
            self._advance(feed, batch)

    def fed(self, page: Batch, *, position: int) -> None:
        """Take a page read for a conversation that is behind; at the hub's `position` it is live again."""
        feed = self.feeds.get(page.conversation)
        if feed is None:
            return
        feed.known = max(feed.known, page.upto)
        if page.since <= feed.cursor < page.upto and not self.window.exhausted:
            self._advance(feed, page)
        self.settle_feed(page.conversation, position=position)

    def settle_feed(self, conversation: str, *, position: int) -> None:
        """Decide, without an await since the hub's position was taken, whether a conversation is live or behind."""
        feed = self.feeds.get(conversation)
        if feed is None:
            return
        self.reading.discard(conversation)
        feed.live = feed.cursor >= position and feed.leaves_at is None
        if feed.live:
            self.behind.pop(conversation, None)
        else:
            self.behind[conversation] = None

    def to_read(self) -> tuple[str, int] | None:
        """The (conversation, since) to read next, now being read; None without need or credit."""
        if self.state is not State.LIVE or len(self.reading) >= READS or not self.window.roomy:
            return None
        for conversation in self.behind:
            del self.behind[conversation]
            self.reading.add(conversation)
            return conversation, self.feeds[conversation].cursor
        return None

    def suspend(self, conversation: str) -> None:
        """Stop the live changes of a conversation; it is behind until read again."""
        feed = self.feeds.get(conversation)
        if feed is not None and conversation not in self.reading:
            self._fall_behind(conversation, feed)

    def read_failed(self, conversation: str) -> None:
        """A page could not be read; it stays to be read."""
        self.reading.discard(conversation)
        if conversation in self.feeds:
            self.behind[conversation] = None

    def offer_marks(
        self, conversation: str, marks: list[frames.DeviceMark], encoded: bytes
    ) -> None:
        """Take marks that moved; held back newest-only while this client does not keep up."""
        if conversation not in self.feeds or self.state is not State.LIVE:
            return
        if self._keeps_up and conversation not in self._outbox.held_marks:
            self._outbox.encoded.append(encoded)
            self._unheard += len(encoded)
            return
        held = self._outbox.held_marks.setdefault(conversation, {})
        held.update((mark.device, mark) for mark in marks)

    def _fall_behind(self, conversation: str, feed: Feed) -> None:
        feed.live = False
        self.behind[conversation] = None

    def _advance(self, feed: Feed, batch: Batch) -> None:
        batch = self._permitted(
            feed, batch.after(feed.cursor) if feed.cursor > batch.since else batch
        )
        encoded = batch.encode(self.codec)
        self._outbox.encoded.append(encoded)
        self.window.sent(
            batch.conversation, upto=batch.upto, messages=batch.count, size=len(encoded)
        )
        feed.cursor = batch.upto
        if feed.leaves_at is not None and feed.cursor >= feed.leaves_at:
            self._leave(batch.conversation, feed.leaves_at)

    def _permitted(self, feed: Feed, batch: Batch) -> Batch:
        """What of a batch this user may see: nothing beyond the end of their stay, nothing from before it if hidden."""
        for fence in batch.fences:
            if (
                self.identity is not None
                and fence.user == self.identity.user
                and fence.seq >= feed.joined
            ):
                feed.leaves_at = fence.seq
        if feed.leaves_at is not None and batch.upto > feed.leaves_at:
            batch = batch.until(feed.leaves_at)
        if batch.oldest < feed.visible_from:
            batch = batch.visible_from(feed.visible_from)
        return batch

    def _leave(self, conversation: str, upto: int) -> None:
        del self.feeds[conversation]
        self.behind.pop(conversation, None)
        self.reading.discard(conversation)
        self._blocked.pop(conversation, None)
        self._outbox.held_marks.pop(conversation, None)
        self.window.forget(conversation)
        self._push(frames.Left(conversation=conversation, upto=upto))

    # What leaves

    @property
    def _keeps_up(self) -> bool:
        return not self.window.exhausted and self._unheard < UNHEARD_BYTES

    @property
    def ready(self) -> bool:
        """Whether there is something to write."""
        return bool(self._outbox.encoded) or bool(self._outbox.held_marks and self._keeps_up)

    @property
    def congested(self) -> bool:
        """Whether answers wait untaken for so long that further requests are not read."""
        return len(self._outbox.encoded) > MAX_REQUESTS

    def outgoing(self) -> str | bytes | None:
        """The next WebSocket message, or None. Everything due leaves together."""
        if self._outbox.held_marks and self._keeps_up:
            for conversation, marks in self._outbox.held_marks.items():
                self._push(frames.Receipts(conversation=conversation, marks=list(marks.values())))
            self._outbox.held_marks = {}
        encoded = self._outbox.encoded
        if not encoded:
            return None
        size = 0
        for index, part in enumerate(encoded):
            size += len(part)
            if index and size > OUTGOING_BYTES:
                self._outbox.encoded = encoded[index:]
                return self.codec.join(encoded[:index])
        self._outbox.encoded = []
        return self.codec.join(encoded)

    def written(self) -> list[frames.Mark]:
        """Everything outgoing so far was written. For auto_ack sessions: the marks to store."""
        if not self.auto_ack:
            return []
        marks = []
        for conversation, upto in self.window.written().items():
            feed = self.feeds.get(conversation)
            if feed is not None and upto > feed.delivered:
                feed.delivered = upto
                marks.append(frames.Mark(conversation=conversation, delivered=upto, read=feed.read))
        return marks

    def tick(self, now: float) -> None:
        """Notice that time passed: a session without credit for 60 s is told goodbye."""
        if not self.window.exhausted:
            self._starved_since = None
        elif self._starved_since is None:
            self._starved_since = now
        elif now - self._starved_since >= SLOW_S:
            self.close(CloseCode.SLOW, reconnect_after=0)

    def close(
        self, code: CloseCode, *, reconnect_after: int | None = None, discard: bool = False
    ) -> None:
        """Say goodbye; the socket is closed with `code` when everything outgoing was written, or discarded."""
        if self.closing is not None:
            return
        if discard:
            self._outbox = Outbox()
        self.closing = code
        self.state = advance(self.state, "goodbye", role="server")
        self.behind.clear()
        self._push(
            frames.Goodbye(
                reason=code.reason,
                message=code.text,
                reconnect_after=reconnect_after if code.reconnect else None,
            )
        )

    # Small change

    def _push(self, frame: frames.Frame) -> None:
        encoded = self.codec.part(frame)
        self._unheard += len(encoded)
        self._outbox.encoded.append(encoded)

    def _block(self, frame: Write) -> None:
        if isinstance(frame, frames.Send):
            self._blocked.setdefault(frame.conversation, frame.client_id)

    def _refuse(
        self,
        refusal: Refusal,
        detail: object = "",
        *,
        ref: str | int | None = None,
        client_id: str | None = None,
        current: frames.Message | None = None,
    ) -> None:
        self._push(
            frames.Error(
                code=refusal.code,
                message=refusal.text(detail),
                definite=refusal.definite,
                retry_after=refusal.retry_after,
                ref=ref,
                client_id=client_id,
                current=current,
            )
        )

    def _count_abuse(self, code: CloseCode = CloseCode.ABUSE) -> None:
        self._abuse += 2
        if self._abuse > 2 * ABUSE_LIMIT:
            self.close(code, reconnect_after=1_000)


# The table's most frequent answer, looked up once: what a live session takes and stays live.
STAY_LIVE = frozenset(
    kind
    for kind in Session._HANDLERS
    if TRANSITIONS.get((State.LIVE, str(kind.__struct_config__.tag))) is State.LIVE
)
LIMITS = frames.Limits(
    body_bytes=frames.MAX_BODY_BYTES, frame_bytes=frames.MAX_FRAME_BYTES, requests=MAX_REQUESTS
)


def _announced(state: frames.ConversationState) -> frames.Conversation:
    return msgspec.convert(msgspec.structs.asdict(state), frames.Conversation)
