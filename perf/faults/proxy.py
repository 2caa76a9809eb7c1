"""A TCP proxy that breaks the network between two parts, as told: what Toxiproxy does, in this process.

Laws: bytes are never changed, lost or reordered within a connection, as TCP promises; `healthy` is
the rule when nothing is imposed; a rule holds for connections that are there and for those to come,
from the next chunk on. "up" is from who has connected to who was connected to.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

Direction: TypeAlias = Literal["up", "down"]
Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial: TypeAlias = Callable[[], Awaitable[Streams]]
"""Opens a connection to the other part. Raises OSError."""

CHUNK = 1 << 16  # bytes read at once
SLICE_S = 0.05  # a limited line passes so much on at once
ON_THE_WAY = 64  # chunks of a direction that may be delayed at a time
RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: closing sends RST (tcp(7))


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What happens to bytes of one direction: `delay_s` and up to `jitter_s` more, at most
    `bytes_per_s`, or nothing at all passes (`stuck`), as if every packet were dropped."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float | None = None
    stuck: bool = False


HEALTHY: Final = Rule()


@dataclass(eq=False)
class _Way:
    """One direction of a connection: chunks with the moment from which they may pass."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    direction: Direction
    chunks: asyncio.Queue[tuple[float, bytes]] = field(
        default_factory=lambda: asyncio.Queue(ON_THE_WAY)
    )


class Proxy:
    """Listens on a port and passes everything on, as far as its rules let it.

    `effects` counts what was done to the traffic: connections `cut`, `reset`, `forgotten` and
    `refused`, chunks `delayed`, `limited` and `stuck`.
    """

    def __init__(self, dial: Dial, *, seed: int = 0) -> None:
        self.effects: Counter[str] = Counter()
        self.connections: set[_Connection] = set()
        self.port = 0
        self.refusing: Literal["no", "cut", "reset"] = "no"
        self.flowing = asyncio.Event()  # set anew by each change of the rules
        self.rules: dict[Direction, Rule] = {"up": HEALTHY, "down": HEALTHY}
        self.dice = random.Random(seed)
        self._dial = dial

    @asynccontextmanager
    async def serving(self, address: str = "127.0.0.1") -> AsyncIterator[None]:
        """Listen at this address for the time inside; then every connection is closed. Raises OSError."""
        server = await asyncio.start_server(self._accept, address, 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            self.heal()
            for one in list(self.connections):
                one.end()
            await server.wait_closed()

    def impose(self, rules: Mapping[Direction, Rule]) -> None:
        """Let these rules hold; a direction that is not named stays as it is."""
        self.rules |= rules
        self._changed()

    def cut(self, *, reset: bool = False) -> None:
        """End every connection, orderly or by a reset, and refuse new ones in the same way until healed."""
        self.refusing = "reset" if reset else "cut"
        for one in list(self.connections):
            self.effects[self.refusing] += 1
            one.end(reset=reset)

    def forget(self) -> None:
        """Half-open: the far sides are told that the connection has ended, the near sides are told nothing, ever."""
        for one in list(self.connections):
            self.effects["forgotten"] += 1
            one.forget()

    def heal(self) -> None:
        """Let everything pass again. Connections that were cut or forgotten stay what they are."""
        self.refusing = "no"
        self.rules = {"up": HEALTHY, "down": HEALTHY}
        self._changed()

    def _changed(self) -> None:
        self.flowing.set()
        self.flowing = asyncio.Event()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing != "no":
            self.effects["refused"] += 1
            _close(writer, reset=self.refusing == "reset")
            return
        try:
            far = await self._dial()
        except OSError:  # nobody is there: whoever has connected is told so
            _close(writer)
            return
        one = _Connection(self, (reader, writer), far)
        self.connections.add(one)
        try:
            await one.run()
        finally:
            self.connections.discard(one)


class _Connection:
    """One connection through the proxy, as two ways."""

    def __init__(self, proxy: Proxy, near: Streams, far: Streams) -> None:
        self._proxy = proxy
        self._near, self._far = near[1], far[1]
        self._ways = (_Way(near[0], far[1], "up"), _Way(far[0], near[1], "down"))
        self._ended = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Carry both directions until either ends; a half-open one until it is told to end."""
        for way in self._ways:
            self._tasks += [
                asyncio.create_task(self._read(way)),
                asyncio.create_task(self._write(way)),
            ]
        try:
            await self._ended.wait()
        finally:
            self._stop()
            _close(self._near)
            _close(self._far)

    def end(self, *, reset: bool = False) -> None:
        """Close both sides."""
        self._stop()
        _close(self._near, reset=reset)
        _close(self._far, reset=reset)
        self._ended.set()

    def forget(self) -> None:
        """Close the far side only; what the near side says goes nowhere."""
        self._stop()
        _close(self._far, reset=True)

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _read(self, way: _Way) -> None:
        loop, due = asyncio.get_running_loop(), 0.0
        data = b" "
        while data:
            await self._passable(way)
            try:
                data = await way.reader.read(CHUNK)
            except OSError:
                data = b""
            rule = self._proxy.rules[way.direction]
            wait = rule.delay_s + self._proxy.dice.random() * rule.jitter_s
            if wait and data:
                self._proxy.effects["delayed"] += 1
            due = max(due, loop.time() + wait)  # never before what came earlier
            await way.chunks.put((due, data))

    async def _write(self, way: _Way) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                due, data = await way.chunks.get()
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                if not data:
                    await self._passable(way)  # a FIN is a packet like any other
                    break
                await self._pass(way, data)
        except OSError:
            pass  # the other side is gone
        self._ended.set()

    async def _pass(self, way: _Way, data: bytes) -> None:
        """Write a chunk as fast as the rule of the moment lets it."""
        while data:
            await self._passable(way)
            rate = self._proxy.rules[way.direction].bytes_per_s
            size = len(data) if rate is None else max(int(rate * SLICE_S), 1)
            part, data = data[:size], data[size:]
            way.writer.write(part)
            await way.writer.drain()
            if rate is not None:
                self._proxy.effects["limited"] += 1
                await asyncio.sleep(len(part) / rate)

    async def _passable(self, way: _Way) -> None:
        """Wait while nothing may pass."""
        noted = False
        while self._proxy.rules[way.direction].stuck:
            if not noted:
                self._proxy.effects["stuck"] += 1
                noted = True
            await self._proxy.flowing.wait()


def _close(writer: asyncio.StreamWriter, *, reset: bool = False) -> None:
    """Close a side; with `reset` the peer gets RST, whatever was still to be sent."""
    if writer.is_closing():
        return
    own = writer.get_extra_info("socket")
    if reset and own is not None and own.family == socket.AF_INET:
        with suppress(OSError):
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    if reset:
        writer.transport.abort()
    else:
        writer.close()
