"""uvicorn as we run it: no signals of its own, drained before it stops, no stalled client kept.

uvicorn closes every socket before it tells the application that it stops, so the drain has to
come first. It also waits for ever for a client that doesn't read, or says no whole request; ours are cut.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from time import monotonic

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from project.limits import (
    ACCEPTS_A_TURN,
    BACKLOG,
    GRACE_S,
    HEAD_S,
    MAX_FRAME_BYTES,
    PING_S,
    PING_TIMEOUT_S,
)
from project.websocket import PlainFrames

UNREAD_S = 60.0  # for a client to take 64 KiB of an answer: 1 KiB a second; a download goes on by its range
PING_CUT_S = 1.0  # for the close frame to leave, after a ping without an answer
LEFT_CUT_S = 2.0  # for a client to take what a session that has ended left it: it was given as long to make room
END_CUT_S = 12.0  # uvicorn itself gives the closing handshake 10 s
ANSWERS_S = 2.0  # for all clients to answer our close when the process ends: a busy one stands still for a second
LOOK_S = 0.02


class HttpProtocol(H11Protocol):
    """Closes a connection whose client has not sent the head of its request in time, or does not read the answer."""

    _head: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request is to come."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes; what they begin is to be completed in time, however it drips in."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._forget_head()
        elif self._head is None:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come."""
        self._forget_head()
        self._forget_unread()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """More waits for the client than the transport holds gladly."""
        super().pause_writing()
        self._forget_unread()
        self._unread = self.loop.call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read most of it."""
        self._forget_unread()
        super().resume_writing()

    def _expect_head(self) -> None:
        self._head = self.loop.call_later(HEAD_S, self.transport.close)

    def _forget_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


class WebSocketProtocol(PlainFrames):
    """Cuts a connection that can't be closed because its client does not read."""

    def keepalive_timeout(self) -> None:
        """After a ping without an answer."""
        super().keepalive_timeout()
        self.loop.call_later(PING_CUT_S, self.transport.abort)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """After the consumer has ended: nobody counts this socket any more, so what it holds is not to stay for long."""
        super().on_task_complete(task)
        self.loop.call_later(LEFT_CUT_S, self._cut_unread)
        self.loop.call_later(END_CUT_S, self.transport.abort)

    def _cut_unread(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()


class Server(uvicorn.Server):
    """Says when it is ready, and drains before it stops."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        warm_up: Callable[[], Awaitable[None]],
        drain: Callable[[], Awaitable[None]],
        ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._warm_up = warm_up
        self._drain = drain
        self._ready = ready
        self._ending: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: the worker owns them."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Warm up, listen, then say so.

        uvloop's libuv (1.45 and newer) accepts one connection in each turn of the loop from each listener:
        a busy loop then accepts dozens a second, whatever it could serve. So we listen several times.
        """
        await self._warm_up()
        copies = [one.dup() for one in sockets or [] for _ in range(ACCEPTS_A_TURN - 1)]
        await super().startup([*sockets, *copies] if sockets else None)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close what is left, after the answers to the closes that the drain has sent.

        A socket that is closed before is reset by whatever its client still says, and then the client is
        never told why, or when to come back.
        """
        deadline = monotonic() + ANSWERS_S
        while self._closing_handshakes and monotonic() < deadline:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(LOOK_S)
        await super().shutdown(sockets)

    @property
    def _closing_handshakes(self) -> bool:
        """Whether a client has not answered our close."""
        return any(
            isinstance(one, WebSocketProtocol) and one.close_sent
            for one in self.server_state.connections
        )

    def begin_end(self) -> None:
        """Begin to end: no new connections, drain, then stop."""
        self._ending = asyncio.get_running_loop().create_task(self._end())

    async def _end(self) -> None:
        for server in getattr(self, "servers", []):  # there is none before startup
            server.close()
        try:
            await self._drain()
        finally:
            self.should_exit = True


def config() -> uvicorn.Config:
    """The configuration of every process."""
    return uvicorn.Config(
        "project.asgi:application",
        loop="uvloop",
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=MAX_FRAME_BYTES,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_TIMEOUT_S,
        # Compression is per connection: it would undo that a frame is encoded once for all.
        ws_per_message_deflate=False,
        lifespan="off",
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_S,
        access_log=False,
        proxy_headers=False,  # by default it believes everybody on this machine; `proxies` asks the settings
        log_config=None,
        server_header=False,
    )
