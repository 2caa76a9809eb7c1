"""Frames on their way to one socket, beside the work of whoever stores: a line may take nothing for long."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from messaging.protocol import Codec
from messaging.protocol.frames import Frame

# Of one WebSocket message, unless a single frame is larger. It is answered when all of it has come: on a slow line an answer
# is to come now and then, or the connection counts as dead, and all goes round for ever.
MESSAGE_BYTES = 16_384


class Leaving:
    """What waits to be sent; bounded, for the rules have few requests and marks unanswered at a time."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._messages = asyncio.Queue[str | bytes]()

    def put(self, frames: Iterable[Frame]) -> None:
        """Have these frames go, behind all before them."""
        for message in self._joined(frames):
            self._messages.put_nowait(message)

    def _joined(self, frames: Iterable[Frame]) -> Iterator[str | bytes]:
        parts: list[bytes] = []
        size = 0
        for part in map(self._codec.part, frames):
            if parts and size + len(part) > MESSAGE_BYTES:
                yield self._codec.join(parts)
                parts, size = [], 0
            parts.append(part)
            size += len(part)
        if parts:
            yield self._codec.join(parts)

    async def send(self, socket: ClientConnection) -> None:
        """Send what waits and what comes, as fast as the line takes it, until the connection is closed."""
        with suppress(ConnectionClosed):  # the reader has the close code
            while True:
                await socket.send(await self._messages.get())
