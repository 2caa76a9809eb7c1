"""One virtual device: the real client's rules (`messaging.protocol.client`) on a socket of picows.

It keeps no messages: what it saw goes to its log, what happens to it to the `Observer`. Like any
client it resumes, acknowledges at its pace, repeats what was refused, and comes back when the
connection is lost. All moments are seconds of `perf_counter`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import perf_counter

from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from messaging.protocol import frames
from messaging.protocol.client import Client, Phase
from messaging.protocol.happenings import AnyHappening, Applied, Declined
from messaging.protocol.saved import Saved
from perf import wire
from perf.accounts import Account
from perf.history import History, Log, Page, Promise
from perf.observer import Observer, Sent

SUBPROTOCOL = "lockstep.v1.json"
CONNECT_S = 10.0
NO_CODE, LOST = (
    1005,
    1006,
)  # how RFC 6455 calls a close frame without a code, and an end without one


class ConnectFailed(Exception):
    """A device could not open its session; the text says why."""


@dataclass(kw_only=True)
class Surroundings:
    """What all devices of a fleet have in common. `reads`: they read what arrives at once."""

    url: str
    run: str
    observer: Observer
    history: History
    pages: wire.Pages
    reads: bool = False


class Device(WSListener):
    """One device of an account, for as many connections as it takes."""

    def __init__(self, account: Account, around: Surroundings, *, number: int, log: Log) -> None:
        self.account, self.number, self.log = account, number, log
        self.client = Client(token=account.token, saved=Saved(cursors=dict(log.starts)))
        self.pending: dict[str, Sent] = {}
        self.pongs = 0
        self._around, self._sends = around, 0
        self._loop = asyncio.get_running_loop()
        self._transport: WSTransport | None = None
        self._welcomed: asyncio.Future[float] | None = None
        self._reaching: tuple[str, int, asyncio.Future[float]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._close_code = LOST
        self._dialling: asyncio.Task[None] | None = None

    # What the rig asks for

    async def connect(self) -> float:
        """Open the session, hello included; return how many seconds it took. Raises ConnectFailed."""
        begun = perf_counter()
        self.client.connect(begun * 1000)
        try:
            async with asyncio.timeout(CONNECT_S):
                return await self._dial() - begun
        except (OSError, WSError, TimeoutError) as error:
            raise ConnectFailed(str(error) or f"no welcome within {CONNECT_S:.0f} s") from None

    def send(self, conversation: str, body: str, *, intended: float | None = None) -> Sent:
        """Queue a message; it leaves with the next `flush`, or with the answer to what was just read."""
        self._sends += 1
        client_id = f"{self._around.run}.{self.number}.{self._sends}"
        now = perf_counter()
        sent = Sent(
            conversation=conversation,
            client_id=client_id,
            intended=now if intended is None else intended,
            actual=now,
        )
        self.client.send(conversation, body, client_id=client_id)
        self.pending[client_id] = sent
        self._around.history.sent[client_id] = self.account.device
        self._around.observer.sent(self, sent)
        return sent

    def flush(self) -> None:
        """Write whatever is due as one WebSocket message, and come back when more will be."""
        if self._transport is None:
            return
        going = self.client.due(perf_counter() * 1000)
        if going:
            self._transport.send(WSMsgType.TEXT, wire.encode(going))
        self._set_timer()

    def ping(self) -> None:
        """Ask for a pong; `pongs` counts the answers."""
        if self._transport is not None:
            self._transport.send(WSMsgType.TEXT, wire.encode([frames.Ping()]))

    async def reach(self, conversation: str, seq: int) -> float:
        """Wait until the cursor is at least `seq`; return that moment."""
        if self.client.cursors.get(conversation, 0) >= seq:
            return perf_counter()
        future: asyncio.Future[float] = self._loop.create_future()
        self._reaching = (conversation, seq, future)
        return await future

    def leave(self) -> None:
        """Close the socket for good."""
        self.client.disconnect()
        self._forget_timer()
        if self._dialling is not None:
            self._dialling.cancel()
        if self._transport is not None:
            transport, self._transport = self._transport, None
            transport.send_close()
            transport.disconnect()

    # What the socket says

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Say hello."""
        self._transport, self._close_code = transport, LOST
        self.client.opened(perf_counter() * 1000)
        self.flush()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take one WebSocket message."""
        if frame.msg_type == WSMsgType.CLOSE:
            self._close_code = int.from_bytes(frame.get_payload_as_bytes()[:2], "big") or NO_CODE
            transport.disconnect()
            return
        data = frame.get_payload_as_bytes()
        now, size = perf_counter(), len(data)
        others: list[frames.ServerFrame] = []
        for received in wire.decode(data):
            if not isinstance(received, wire.RawEvents):
                others.append(received)
                continue
            if others:  # in order, but as few calls as can be: most are answers in a row
                self._take(others, now)
                others = []
            self._take_events(received, now, size)
            size = 0
        if others:
            self._take(others, now)
        self.flush()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The connection is gone: as a client does, come back unless told not to."""
        if transport is not self._transport:
            return
        self._transport = None
        self.client.closed(self._close_code, perf_counter() * 1000)
        if self._welcomed is not None and not self._welcomed.done():
            self._welcomed.set_exception(OSError(f"closed before welcome: {self.client.reason}"))
        self._around.observer.closed(self, self._close_code)
        self._set_timer()

    def _take_events(self, frame: wire.RawEvents, now: float, size: int) -> None:
        conversation = frame.conversation
        page, messages = self._around.pages.read(frame)
        cursor = self.client.cursors.get(conversation)
        if cursor is None:
            cursor = self.log.starts[conversation] = frame.since
        self.log.holes += frame.since > cursor
        self.log.repeats += frame.upto <= cursor
        decoded = frames.Events(
            conversation=conversation,
            since=frame.since,
            upto=frame.upto,
            messages=messages,
            ref=frame.ref,
        )
        for happening in self.client.received((decoded,), now * 1000, size=size):
            if type(happening) is Applied:
                if happening.messages is not messages:
                    page = Page(
                        conversation=conversation,
                        since=cursor,
                        upto=frame.upto,
                        entries=wire.entries(happening.messages),
                    )
                self._applied(page, now)

    def _applied(self, page: Page, now: float) -> None:
        self.log.pages.append(page)
        if self._around.reads:
            self.client.read(page.conversation)
        self._around.observer.delivered(self, page, now)
        if self._reaching is not None:
            conversation, seq, future = self._reaching
            if self.client.cursors.get(conversation, 0) >= seq:
                self._reaching = None
                future.set_result(now)

    def _take(self, received: list[frames.ServerFrame], now: float) -> None:
        """Take frames that bring no changes; only those count for the window, so the size is not told."""
        happenings = self.client.received(received, now * 1000)
        for frame in received:
            match frame:
                case frames.Ok():
                    self._acked(frame, now)
                case frames.Receipts():
                    self._around.observer.marked(self, frame, now)
                case frames.Welcome():
                    self._adopt(frame, now)
                case frames.Error():
                    self._refused(frame, happenings)
                case frames.Pong():
                    self.pongs += 1

    def _refused(self, frame: frames.Error, happenings: list[AnyHappening]) -> None:
        final = any(
            isinstance(one, Declined) and one.client_id == frame.client_id for one in happenings
        )
        if final:
            self.pending.pop(frame.client_id or "", None)
        self._around.observer.refused(self, frame.code, final=final)

    def _adopt(self, frame: frames.Welcome, now: float) -> None:
        """Begin the log of the conversations for which no cursor was known."""
        for listed in frame.conversations:
            self.log.starts.setdefault(listed.conversation, listed.since)
        if self._welcomed is not None and not self._welcomed.done():
            self._welcomed.set_result(now)

    def _acked(self, frame: frames.Ok, now: float) -> None:
        sent = self.pending.pop(frame.client_id or "", None)
        if sent is None or frame.seq is None:
            return
        promise = Promise(self.account.device, sent.client_id, frame.message or "", frame.seq)
        self._around.history.promises.append(promise)
        self._around.observer.acked(self, sent, frame.seq, now)

    # Connections and time

    async def _dial(self) -> float:
        self._welcomed = self._loop.create_future()
        address = self._around.url.replace("http", "ws", 1).rstrip("/") + "/ws/"
        headers = {"Sec-WebSocket-Protocol": SUBPROTOCOL}
        await ws_connect(
            lambda: self, address, extra_headers=headers, websocket_handshake_timeout=CONNECT_S
        )
        return await self._welcomed

    async def _dial_again(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._dial()
        except (OSError, WSError, TimeoutError):
            self.client.closed(LOST, perf_counter() * 1000)
            self._set_timer()

    def _set_timer(self) -> None:
        """Have `_time` called at the client's deadline; an earlier call does no harm."""
        deadline = self.client.deadline
        if deadline is None:
            return
        wait = max(deadline / 1000 - perf_counter(), 0.001)
        if self._timer is not None:
            if self._timer.when() <= self._loop.time() + wait:
                return
            self._timer.cancel()
        self._timer = self._loop.call_later(wait, self._time)

    def _time(self) -> None:
        self._timer = None
        if self._transport is not None:
            self.flush()
            return
        self.client.due(perf_counter() * 1000)
        if self.client.phase is Phase.CONNECTING:
            self._dialling = self._loop.create_task(self._dial_again())
        else:
            self._set_timer()

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
