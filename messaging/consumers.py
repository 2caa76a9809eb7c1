"""The socket: pumps WebSocket messages between the ASGI server and the session, decides nothing.

It overrides Channels' dispatch, whose thread hop per event costs more than everything else here
(docs/decisions), and signs off in `finally`, whatever ended it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from time import monotonic
from typing import Any

import psycopg
from channels.consumer import AsyncConsumer

from messaging import engine, metrics
from messaging.handshake import header_token, origin_allowed
from messaging.overload.door import Full, door
from messaging.overload.pressure import NO_HINTS
from messaging.protocol.codec import CODECS, JSON
from messaging.protocol.errors import CloseCode, Refusal, Refused
from messaging.protocol.frames import PresenceSet
from messaging.protocol.server.actions import (
    Action,
    Authenticate,
    Identity,
    Read,
    SetPresence,
    ShowTyping,
    Stored,
    StoreMarks,
    Submit,
    Watch,
    Write,
)
from messaging.protocol.server.answers import goodbye
from messaging.protocol.server.batch import Batch
from messaging.protocol.server.session import Session
from presence import database

logger = logging.getLogger(__name__)

HELLO_S = 5.0
RECONNECT_MS = 1_000  # after a close; clients add jitter
HANG_UP_S = 0.1  # for a last close frame to enter the socket's buffer
CLOSE_S = 2.0  # how long a closing socket may take to accept what is left

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Gone(Exception):
    """The socket is closed: the server's own `send` has said so, by an OSError as ASGI has it."""


class DeviceConsumer(AsyncConsumer):  # type: ignore[misc]
    """One WebSocket connection of a device."""

    session: Session

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve the socket until either side ends it, or turn it away."""
        await receive()  # websocket.connect
        offered = next((name for name in scope["subprotocols"] if name in CODECS), None)
        try:
            door().enter()
        except Full as full:
            await _turn_away(send, offered, full.reconnect_after)
            return
        try:
            await self._attend(scope, receive, send, offered)
        finally:
            door().leave()

    async def _attend(
        self, scope: dict[str, Any], receive: Receive, send: Send, offered: str | None
    ) -> None:
        self.session = Session(CODECS.get(offered or "", JSON))
        self.session.on_refused = _count_refusal
        self._send, self._token = send, header_token(scope)
        self._wakeup, self._drained = asyncio.Event(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._syncing = asyncio.Lock()
        self._engine: engine.Engine | None = None
        self._writer: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None  # with a closing socket
        self._alive, self._abandoned = True, False
        self._greeted = False
        await send({"type": "websocket.accept", "subprotocol": offered})
        metrics.connections.inc()
        if scope["subprotocols"] and offered is None:
            self.close(CloseCode.SUBPROTOCOL)
        elif not origin_allowed(scope):
            self.close(CloseCode.ORIGIN)
        try:
            await self._serve(receive)
        finally:
            await self._sign_off()

    def wake(self) -> None:
        """There is something to write."""
        self._wakeup.set()
        if self.session.feeds.restarted and self._engine is not None:
            anew, self.session.feeds.restarted = self.session.feeds.restarted, []
            self._spawn(self._engine.hub.marks.greet(self, anew))
        if self.session.closing is not None and self._patience is None:
            revoked = self.session.closing is CloseCode.REVOKED  # the revocation waits for us
            patience = HANG_UP_S if revoked else CLOSE_S
            self._patience = asyncio.get_running_loop().call_later(patience, self._abandon)

    def close(
        self, code: CloseCode, *, discard: bool = False, reconnect_after: int = RECONNECT_MS
    ) -> None:
        """Say goodbye and close; `reconnect_after` is in ms."""
        self.session.close(code, reconnect_after=reconnect_after, discard=discard)
        self.wake()

    async def _serve(self, receive: Receive) -> None:
        """Read and write until one of the two ends."""
        greeting = asyncio.get_running_loop().call_later(HELLO_S, self._expect_hello)
        writer = self._writer = asyncio.create_task(self._write())
        reader = asyncio.create_task(self._read(receive))
        try:
            done, _ = await asyncio.wait((writer, reader), return_when=asyncio.FIRST_COMPLETED)
            if self._abandoned:
                await self._hang_up()
                return
            for task in done:
                if isinstance(error := task.exception(), Gone):
                    # Raised here, it would know of our task, which keeps it: the collector would have to find both.
                    logger.debug("the client is gone: %s", error)
                elif error is not None:
                    logger.error(
                        "a session met an error of the server", exc_info=error, extra=self._ids
                    )
                    self.close(CloseCode.INTERNAL)
                    await self._hang_up()
        finally:
            self._alive = False
            greeting.cancel()
            if self._patience is not None:
                self._patience.cancel()
            writer.cancel()
            reader.cancel()
            await asyncio.gather(writer, reader, return_exceptions=True)
            # It keeps the exception that ended it, and that keeps us: the collector would have to find it.
            self._writer = None

    def _expect_hello(self) -> None:
        if not self._greeted:
            self.close(CloseCode.HELLO_TIMEOUT)

    async def _read(self, receive: Receive) -> None:
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                return
            data = event.get("text")
            if data is None:
                data = event.get("bytes") or b""
            try:
                for action in self.session.receive(data):
                    self._act(action)
            except Exception:
                logger.exception("a frame met an error of the server", extra=self._ids)
                self.close(CloseCode.INTERNAL)
            if self.session.feeds.behind and self._engine is not None:
                self._engine.hub.pump(self)
            if self.session.ready:
                self.wake()
            if self.session.congested:
                self._drained.clear()
                await self._drained.wait()
            if pause_ms := self.session.share.pause_ms():
                await asyncio.sleep(pause_ms / 1000)

    async def _write(self) -> None:
        session = self.session
        while True:
            await self._wakeup.wait()
            self._wakeup.clear()
            while (data := session.outgoing(mute=self._mute)) is not None:
                kind = "bytes" if isinstance(data, bytes) else "text"
                await self._say({"type": "websocket.send", kind: data})
                self._store(session.written())
            if not session.congested:  # mute, it may be for long: then no more is read
                self._drained.set()
            if session.closing is not None:
                await self._send_close(session.closing)
                return

    @property
    def _mute(self) -> bool:
        """Whether the lease is away: a revoked device, which waits for it, is told of nobody then."""
        return self._engine is not None and not self._engine.roster.alive

    def _abandon(self) -> None:
        """What is left can't leave, for the client does not read: go without it.

        Timers go first in a loop that stood still: the writer had no turn yet, and takes it now.
        """
        asyncio.get_running_loop().call_soon(self._abandon_now)

    def _abandon_now(self) -> None:
        if self._writer is not None and not self._writer.done():
            self._abandoned = True
            self._writer.cancel()

    async def _hang_up(self) -> None:
        """Say the close code if that is possible at once. Daphne keeps the socket of whoever does not.

        Our servers drop what a revoked device has not taken when they hear its code.
        """
        code = self.session.closing or CloseCode.INTERNAL
        with contextlib.suppress(Gone, TimeoutError):
            async with asyncio.timeout(HANG_UP_S):
                await self._send_close(code)

    async def _send_close(self, code: CloseCode) -> None:
        await self._say({"type": "websocket.close", "code": int(code), "reason": code.reason})

    async def _say(self, event: dict[str, Any]) -> None:
        """Hand an event to the server. Raises Gone."""
        try:
            await self._send(event)
        except OSError as error:
            raise Gone(str(error)) from None

    # What the session decided

    def _act(self, action: Action) -> None:
        match action:
            case Submit(frame):
                assert self._engine
                assert self.session.identity
                self._engine.journal.put(
                    self.session.identity.device, frame, partial(self._settle, frame)
                )
            case StoreMarks(marks, ref):
                self._store(marks, ref)
            case Authenticate(token):
                self._greeted = True  # from here on it is we who keep the client waiting
                self._spawn(self._open(token or self._token))
            case Read():
                self._spawn(self._sync(action))
            case SetPresence(about) | Watch(about) if self._sheds_hints:
                self.session.decline(about, Refusal.OVERLOADED)
            case SetPresence(about):
                self._spawn(self._set_presence(about))
            case Watch(watched):
                assert self._engine
                self._engine.hub.presence.watch(self, watched)
            case ShowTyping(typing):
                assert self._engine
                if not self._sheds_hints:
                    self._engine.hub.typists.say(self, typing)

    @property
    def _sheds_hints(self) -> bool:
        return door().pressure.level >= NO_HINTS

    def _settle(self, frame: Write, outcome: Stored | Refused) -> None:
        if self._alive:
            self.session.settle(frame, outcome)
            self.wake()

    def _store(self, marks: list[Any], ref: str | int | None = None) -> None:
        if not marks and ref is None:
            return
        assert self._engine
        assert self.session.identity
        done = None if ref is None else partial(self._confirm, ref)
        self._engine.receipts.put(self.session.identity.device, marks, done)

    def _confirm(self, ref: str | int) -> None:
        if self._alive:
            self.session.confirm(ref)
            self.wake()

    async def _open(self, token: str | None) -> None:
        """Find the device and open the session, or refuse it."""
        began = monotonic()
        if database.breaker.refuses():
            self.close(CloseCode.UNAVAILABLE)
            return
        try:
            self._engine = await engine.running()
            async with door().turn():
                await self._look_up(self._engine, token, began)
            if self._engine.draining:  # since then: goodbye was said to all others
                self.close(CloseCode.RESTART)
        except Full as full:
            self.close(CloseCode.FULL, reconnect_after=full.reconnect_after)
        except psycopg.Error as error:
            logger.warning("a hello could not be answered, the database is away: %s", error)
            self.close(CloseCode.UNAVAILABLE)

    async def _look_up(self, running: engine.Engine, token: str | None, began: float) -> None:
        if running.draining:  # since a while, perhaps: goodbye was said to all others
            self.close(CloseCode.RESTART)
            return
        arrival = await running.roster.arrive(token) if token else None
        if arrival is None:
            self.close(CloseCode.UNAUTHORIZED)
            return
        identity = Identity(device=arrival.device, user=arrival.user, session=arrival.session)
        self._session_id = arrival.session
        self.session.share.allowance = running.allowance(identity.device, identity.user)
        await running.hub.attach(self, identity)
        metrics.hello_seconds.observe(monotonic() - began)

    async def _sync(self, action: Read) -> None:
        async with self._syncing:  # one by one: all who catch up share what is asked here
            self.session.answer_sync(action.frame, await self._page(action))
        self.wake()

    async def _page(self, action: Read) -> Batch | Refused:
        assert self._engine
        if self.session.window.exhausted:
            return Refused(Refusal.OVERLOADED)
        asked = (action.frame.conversation, action.since)
        try:
            pages = await self._engine.hub.feed.pages([asked], limit=action.frame.limit)
        except psycopg.Error:
            return Refused(Refusal.DATABASE_UNAVAILABLE)
        return pages.get(asked) or Refused(Refusal.NO_SUCH_CONVERSATION)

    async def _set_presence(self, frame: PresenceSet) -> None:
        assert self._engine
        assert self.session.identity
        roster, identity = self._engine.roster, self.session.identity
        # Both begin now, so that requests of a session are stored in their order.
        said = roster.describe(
            identity.user, text=frame.text, until=frame.until, invisible=frame.invisible
        )
        shown = [] if frame.state is None else [roster.set_state(identity.session, frame.state)]
        try:
            await asyncio.gather(said, *shown)
            self.session.confirm(frame.ref)
        except psycopg.Error as error:
            logger.debug("presence could not be stored: %s", error, extra=self._ids)
            self.session.decline(frame, Refusal.DATABASE_UNAVAILABLE)
        self.wake()

    async def _sign_off(self) -> None:
        self._say_end()
        for task in self._tasks:
            task.cancel()
        if self._engine is not None:
            self._engine.hub.detach(self)
            if self._session_id is not None:
                await asyncio.shield(self._engine.roster.leave(self._session_id))

    _session_id: str | None = None

    def _say_end(self) -> None:
        """Count the end of the connection; what we ended for a reason of its own is worth a line."""
        closing = self.session.closing
        metrics.connections.dec()
        metrics.closes.labels("client" if closing is None else closing.reason).inc()
        if closing is not None and closing is not CloseCode.RESTART and self.session.identity:
            logger.info("a session was closed: %s", closing.reason, extra=self._ids)

    @property
    def _ids(self) -> dict[str, str]:
        """Whom a line of the log is about."""
        identity = self.session.identity
        return {} if identity is None else {"device": identity.device, "session": identity.session}

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            error = task.exception()
            logger.error("a request met an error of the server", exc_info=error, extra=self._ids)
            self.close(CloseCode.INTERNAL)


def _count_refusal(refusal: Refusal) -> None:
    metrics.refusals.labels(refusal.code, "socket").inc()


async def _turn_away(send: Send, offered: str | None, reconnect_after: int) -> None:
    """Say goodbye at once; browsers show their pages nothing of a refused handshake, so it is accepted."""
    code = CloseCode.FULL
    said = CODECS.get(offered or "", JSON).encode([goodbye(code, reconnect_after=reconnect_after)])
    with contextlib.suppress(OSError):  # the client is gone
        await send({"type": "websocket.accept", "subprotocol": offered})
        kind = "bytes" if isinstance(said, bytes) else "text"
        await send({"type": "websocket.send", kind: said})
        await send({"type": "websocket.close", "code": int(code), "reason": code.reason})
    metrics.closes.labels(code.reason).inc()
