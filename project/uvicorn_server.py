"""uvicorn as we run it: no signals of its own, drained before it stops, no stalled reader kept.

uvicorn closes every socket before it tells the application that it stops, so the drain has to
come first. It also waits for ever for a client that doesn't read; ours is cut.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator

import uvicorn

from project.limits import BACKLOG, GRACE_S, MAX_FRAME_BYTES, PING_S, PING_TIMEOUT_S
from project.websocket import PlainFrames

PING_CUT_S = 1.0  # for the close frame to leave, after a ping without an answer
END_CUT_S = 12.0  # uvicorn itself gives the closing handshake 10 s


class WebSocketProtocol(PlainFrames):
    """Cuts a connection that can't be closed because its client does not read."""

    def keepalive_timeout(self) -> None:
        """After a ping without an answer."""
        super().keepalive_timeout()
        self.loop.call_later(PING_CUT_S, self.transport.abort)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """After the consumer has ended."""
        super().on_task_complete(task)
        self.loop.call_later(END_CUT_S, self.transport.abort)


class Server(uvicorn.Server):
    """Says when it is ready, and drains before it stops."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        drain: Callable[[], Awaitable[None]],
        ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._ready = ready
        self._ending: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: the worker owns them."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        self._ready()

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
        log_config=None,
        server_header=False,
    )
