"""One plain session of a device, in JSON or MessagePack: it says what it is told to, and hears what comes.

Without the rules of a client: it resumes nothing and repeats nothing, so two of the same device can
do what no client would. It has the server acknowledge for it (`auto_ack`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import TypeAlias

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from messaging.protocol import frames
from messaging.protocol.codec import JSON, Codec
from perf.history.testimony import clock
from perf.rig.accounts import Account

ANSWER_S = 15.0  # patience with an answer
Request: TypeAlias = frames.Send | frames.Edit | frames.Delete | frames.Receipt
Heard: TypeAlias = Callable[[Sequence[frames.Message], float], object]


class Plain:
    """An open session. `heard` is told of messages as they arrive."""

    def __init__(self, socket: ClientConnection, codec: Codec, heard: Heard) -> None:
        self._socket, self._codec, self._heard = socket, codec, heard
        self._refs = count(1)
        self._asked: dict[object, asyncio.Future[frames.Ok | frames.Error]] = {}
        self._welcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def ask(self, request: Request) -> frames.Ok | frames.Error:
        """Make a request and return its answer. Raises TimeoutError, ConnectionClosed."""
        ref = next(self._refs)
        answer: asyncio.Future[frames.Ok | frames.Error]
        answer = asyncio.get_running_loop().create_future()
        self._asked[ref] = answer
        numbered = msgspec.structs.replace(request, ref=ref)
        await self._socket.send(self._codec.encode([numbered]))
        async with asyncio.timeout(ANSWER_S):
            return await answer

    async def greet(self, token: str) -> None:
        """Say hello and wait until the session is open."""
        await self._socket.send(self._codec.encode([frames.Hello(token=token, auto_ack=True)]))
        async with asyncio.timeout(ANSWER_S):
            await self._welcome

    async def listen(self) -> None:
        """Take what comes until the connection ends."""
        with suppress(ConnectionClosed):
            async for data in self._socket:
                now = clock()
                for frame in self._codec.decode_server(data):
                    self._take(frame, now)

    def _take(self, frame: object, now: float) -> None:
        match frame:
            case frames.Events():
                self._heard(frame.messages, now)
            case frames.Welcome():
                self._welcome.set_result(None)
            case frames.Ok() | frames.Error() if frame.ref in self._asked:
                self._asked.pop(frame.ref).set_result(frame)


@asynccontextmanager
async def plain(
    url: str, account: Account, *, codec: Codec = JSON, heard: Heard = lambda *_: None
) -> AsyncIterator[Plain]:
    """A session of this device for the time inside. Raises OSError, TimeoutError."""
    address = url.replace("http", "ws", 1).rstrip("/") + "/ws/"
    offered = [Subprotocol(codec.subprotocol)]
    async with connect(address, subprotocols=offered, compression=None, max_size=None) as socket:
        session = Plain(socket, codec, heard)
        listening = asyncio.create_task(session.listen())
        try:
            await session.greet(account.token)
            yield session
        finally:
            listening.cancel()
            await asyncio.wait([listening])
