"""Daphne as we run it: no signals of its own, drained before it stops, and no client with more than its share.

Its WebSockets are here, its HTTP is in `daphne_http`.
"""

import asyncio
import importlib
import socket
from collections.abc import Awaitable, Callable

from autobahn.exception import Disconnected
from daphne import http_protocol
from daphne.server import Server, reactor  # first of all: it installs the reactor for asyncio
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol
from twisted.web.http import _GenericHTTPChannelProtocol

from messaging.protocol.errors import CloseCode
from project import farewell
from project.limits import (
    FRAGMENTS,
    GRACE_S,
    LAST_WORDS_S,
    MAX_FRAME_BYTES,
    PING_S,
    PING_TIMEOUT_S,
)

UNREAD_BYTES = 65_536  # that wait for a client to read them: no pongs are added then

Ender = Callable[[asyncio.AbstractEventLoop, Callable[[], None]], None]


class Protocol(WebSocketProtocol):  # type: ignore[misc]
    """Closes with any code that RFC 6455 gives a server, and says as ASGI has it when the client is gone."""

    def serverSend(self, content: str | bytes, binary: bool = False) -> None:  # noqa: FBT001, FBT002, N802 - Daphne's
        """Send a message. Raises ConnectionResetError for a socket that is closing; Autobahn's is no OSError."""
        try:
            super().serverSend(content, binary)
        except Disconnected as error:
            raise ConnectionResetError(str(error)) from None

    def serverClose(self, code: int | None = None) -> None:  # noqa: N802 - Daphne's name
        """Send the close frame. `sendClose` would refuse 1008, 1009 and 1012, and the client see 1011."""
        self.sendCloseFrame(code=code or 1000)
        if code == CloseCode.REVOKED:
            reactor.callLater(LAST_WORDS_S, self._cut_off)

    def _max_message_size_exceeded(self, *_: object) -> None:
        """Say why. Autobahn would drop the connection, and the client come back with the same frame."""
        self.failedByMe = True  # what still comes of it is read, and dropped
        if self.state == self.STATE_OPEN:
            words = farewell.too_large(self.websocket_protocol_in_use)
            self.serverSend(words, isinstance(words, bytes))
            self.serverClose(CloseCode.TOO_LARGE)

    def onPing(self, payload: bytes) -> None:  # noqa: N802 - Autobahn's name
        """Answer, unless the client does not read: an answer to a later one will do (RFC 6455, 5.5.3)."""
        if self._unread() <= UNREAD_BYTES:
            super().onPing(payload)

    def onMessageBegin(self, isBinary: bool) -> None:  # noqa: FBT001, N802, N803 - Autobahn's names
        """The first frame of a message is here."""
        self._fragments = 0
        super().onMessageBegin(isBinary)

    def onMessageFrameBegin(self, length: int) -> None:  # noqa: N802 - Autobahn's name
        """Take another frame of a message: empty ones count nothing against its bytes, and would never end."""
        self._fragments += 1
        if self._fragments == FRAGMENTS + 1 and not self.failedByMe:
            self._max_message_size_exceeded()
        super().onMessageFrameBegin(length)

    def _cut_off(self) -> None:
        """Drop what a revoked device has not taken."""
        if self._unread():
            self.transport.abortConnection()

    def _unread(self) -> int:
        """Bytes that wait in Twisted's own buffers."""
        return len(self.transport.dataBuffer) + int(self.transport._tempDataLen)


def run(
    listener: socket.socket,
    *,
    warm_up: Callable[[], Awaitable[None]],
    drain: Callable[[], Awaitable[None]],
    ready: Callable[[], None],
    on_end: Ender,
) -> None:
    """Serve on `listener`, and say so when warm, until `on_end` calls back; then drain and stop."""
    loop: asyncio.AbstractEventLoop = reactor._asyncioEventloop
    tasks: list[asyncio.Task[None]] = []  # the loop itself keeps none

    async def end() -> None:
        for listening in server.listeners:
            listening.addCallback(lambda port: port.stopListening())
        try:
            await drain()
        finally:
            reactor.stop()

    async def begin() -> None:
        await warm_up()
        ready()

    def start() -> None:
        on_end(loop, lambda: tasks.append(loop.create_task(end())))
        tasks.append(loop.create_task(begin()))

    application = importlib.import_module("project.asgi").application
    _take_our_protocols()
    server = Server(
        application=application,
        endpoints=[f"fd:fileno={listener.fileno()}"],
        signal_handlers=False,
        ready_callable=start,
        ping_interval=int(PING_S),
        ping_timeout=int(PING_TIMEOUT_S),
        websocket_timeout=-1,  # no limit: by default Daphne ends every socket after a day
        websocket_max_message_size=MAX_FRAME_BYTES,
        websocket_max_frame_size=MAX_FRAME_BYTES,
        application_close_timeout=GRACE_S,
        verbosity=0,
        server_name="",
    )
    server.run()


def _take_our_protocols() -> None:
    """Have Daphne make our sockets and requests; when the application is there."""
    from project.daphne_http import Channel, Request  # noqa: PLC0415 - it needs Django, which is there by now

    WebSocketFactory.protocol = Protocol
    http_protocol.WebRequest = Request
    http_protocol.HTTPFactory.protocol = lambda _: _GenericHTTPChannelProtocol(
        Channel()  # type: ignore[no-untyped-call]
    )
