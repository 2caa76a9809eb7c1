"""A client that keeps no rules, on a bare socket: it says what it likes, when it likes, or nothing.

What it was told at the end is kept: the close code, and the reason of the `goodbye` before it.
RFC 6455, section 5.2, is the layout of its frames; its mask is zero, which the RFC permits.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

import msgspec

from messaging.protocol import frames
from messaging.protocol.codec import JSON
from perf.load.line import LOST, NO_CODE

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
NO_MASK = b"\0\0\0\0"

_encode = msgspec.json.Encoder().encode


class HandshakeFailed(OSError):
    """The server refused the handshake; the text is its status line."""


class Stranger:
    """One socket. Everything raises OSError, and `asyncio.IncompleteReadError` once it is gone."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._tls = parts.scheme == "https"
        self._host, self._port = (
            parts.hostname or "127.0.0.1",
            parts.port or (443 if self._tls else 80),
        )
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.goodbye: str | None = None  # the reason that it was given
        self.greeted = False  # whether it became a WebSocket

    async def connect(self, *, buffer: int | None = None) -> None:
        """Open the socket and say nothing; `buffer` is what its kernel may hold unread, in bytes."""
        sock: socket.socket | None = None
        if buffer is not None:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            sock.settimeout(0)  # not blocking
            await asyncio.get_running_loop().sock_connect(sock, (self._host, self._port))
        where = {"sock": sock} if sock is not None else {"host": self._host, "port": self._port}
        tls = {"ssl": True, "server_hostname": self._host} if self._tls else {}
        self._reader, self._writer = await asyncio.open_connection(**where, **tls)  # type: ignore[arg-type]

    async def handshake(self, *, origin: str | None = None) -> None:
        """Become a WebSocket. Raises HandshakeFailed."""
        key = base64.b64encode(os.urandom(16)).decode()
        claimed = f"Origin: {origin}\r\n" if origin is not None else ""
        self.write(
            f"GET /ws/ HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\n{claimed}Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert self._reader is not None
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = head.partition(b"\r\n")[0].decode("latin-1")
        if " 101 " not in status:
            raise HandshakeFailed(status)
        self.greeted = True

    async def enter(self, token: str, *, buffer: int | None = None) -> None:
        """Connect and say hello, as a device would; the welcome is the first thing to hear."""
        await self.connect(buffer=buffer)
        await self.handshake()
        self.say([frames.Hello(token=token)])

    def say(self, going: Sequence[frames.Frame]) -> None:
        """Write frames as one message."""
        self.message(_encode(going[0] if len(going) == 1 else list(going)))

    def message(self, payload: bytes, opcode: int = TEXT) -> None:
        """Write one message, whatever it is."""
        length, first = len(payload), 0x80 | opcode
        if length < 126:
            head = bytes((first, 0x80 | length))
        elif length < 65_536:
            head = struct.pack("!BBH", first, 0x80 | 126, length)
        else:
            head = struct.pack("!BBQ", first, 0x80 | 127, length)
        self.write(head + NO_MASK + payload)

    def write(self, data: bytes) -> None:
        """Write bytes."""
        assert self._writer is not None
        self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the socket takes more."""
        assert self._writer is not None
        await self._writer.drain()

    def stall(self) -> None:
        """Read nothing from now on."""
        assert self._writer is not None
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    async def pass_over(self) -> None:
        """Wait for one message, whatever it is."""
        await self._next()

    async def hear(self) -> AsyncIterator[frames.ServerFrame]:
        """Every frame until the socket is closed."""
        while True:
            opcode, payload = await self._next()
            if opcode == CLOSE:
                self.code = int.from_bytes(payload[:2], "big") or NO_CODE
                return
            if opcode == PING:
                self.message(payload, PONG)
                continue
            for frame in JSON.decode_server(payload):
                if isinstance(frame, frames.Goodbye):
                    self.goodbye = frame.reason
                yield frame

    code = LOST  # the close code, once `hear` has ended

    async def end(self) -> int:
        """Listen until the socket is closed; return the code, LOST without one."""
        try:
            async for _ in self.hear():
                pass
        except (OSError, asyncio.IncompleteReadError):
            self.code = LOST
        return self.code

    async def _next(self) -> tuple[int, bytes]:
        assert self._reader is not None
        first, second = await self._reader.readexactly(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", await self._reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self._reader.readexactly(8))
        return first & 0x0F, await self._reader.readexactly(length)

    async def closed(self) -> bool:
        """Listen on a socket that is no WebSocket yet until the server ends it; True then."""
        assert self._reader is not None
        while await self._reader.read(1024):
            pass
        return True

    def leave(self) -> None:
        """Cut the socket without a word."""
        if self._writer is not None:
            self._writer.transport.abort()
