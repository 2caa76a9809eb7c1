"""Opening the socket of a connection, and what to tell of one that failed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from messaging.client.rest import socket_url
from messaging.protocol import LOST, CloseCode, Codec, FrameError

logger = logging.getLogger(__name__)

OPEN_S = 8.0  # the rules end an attempt after 10 s, and can't say why it failed
CLOSE_S = 1.0  # for the server to answer our close
MAX_MESSAGE_BYTES = 16_777_216  # of one WebSocket message: far above what a server sends
REFUSED_HANDSHAKES = {401: CloseCode.UNAUTHORIZED, 403: CloseCode.ORIGIN}
FAILURES = (OSError, TimeoutError, WebSocketException, FrameError)


def dial(url: str, *, token: str, codec: Codec) -> Awaitable[ClientConnection]:
    """Open a socket to the server at `url`. Raises one of FAILURES."""
    return connect(
        socket_url(url),
        subprotocols=[Subprotocol(codec.subprotocol)],
        additional_headers={"Authorization": f"Bearer {token}"},
        compression=None,  # costs more time than it saves on small frames
        ping_interval=None,  # the protocol has its own
        open_timeout=OPEN_S,
        close_timeout=CLOSE_S,
        max_size=MAX_MESSAGE_BYTES,
    )


async def hang_up(socket: ClientConnection) -> None:
    """Close a socket. One that takes nothing would have us wait until TCP gives it up: a quarter of an hour, or for ever."""
    with suppress(TimeoutError):
        async with asyncio.timeout(2 * CLOSE_S):
            await socket.close()
    socket.transport.abort()


def told(url: str, error: Exception) -> tuple[int, str]:
    """What a failed connection counts as, as a close code, and why it failed, for people."""
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        answer = f"answered HTTP {status} and no WebSocket"
        reason = f"{url} {answer}; is it a Lockstep server, and is it up?"
        return REFUSED_HANDSHAKES.get(status, LOST), reason
    logger.info("The connection failed: %s", error, extra={"action": "connection_failed"})
    return LOST, f"{url} can't be reached ({error}); is the server running?"
