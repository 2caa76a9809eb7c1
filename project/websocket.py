"""A short way for the frames that make up all of the traffic: whole, unfragmented text and binary.

uvicorn's `websockets-sansio` protocol runs a generator and several objects per frame; under load
that was a fifth of the server's CPU. Everything else (handshake, ping, close, fragments, anything
odd) takes uvicorn's own way, which is given whole frames only, so that it is always between two.
RFC 6455, section 5.2, is the frame layout. No peer can have more of us than its share: odd frames
are taken a few in a turn of the loop, a message has so many fragments, and who does not read gets no pongs.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import OPEN

from messaging.protocol.errors import CloseCode
from project import farewell
from project.limits import FRAGMENTS, LAST_LOOK_S, LAST_WORDS_S

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiled extension for this platform
    from websockets.utils import apply_mask

TEXT, BINARY, MASKED, FIN = 0x81, 0x82, 0x80, 0x80
PING = 0x89
OVERSIZED = -1
# What waits for the consumer before the socket is not read on; one message may be 1 MiB.
QUEUED = 16  # messages
QUEUED_BYTES = 65_536
ODD = 64  # frames that go uvicorn's way in one turn of the loop: half a millisecond


class PlainFrames(WebSocketsSansIOProtocol):
    """Parses and writes plain frames itself. Needs compression to be off."""

    _rest: bytes | bytearray = b""
    _fragments = 0  # of the message that is under way
    _oversized = False
    _queued_bytes = 0  # since nothing waited for the consumer

    def data_received(self, data: bytes) -> None:
        """Take bytes of the socket: frame by frame once the handshake is over."""
        if self._oversized:
            return  # nobody reads the rest of it
        if self._rest:
            self._rest = _growing(self._rest)  # copied once, however the frame drips in
            self._rest += data
        else:
            self._rest = data
        if self.handshake_initiated and not self.handshake_complete:
            self._pause()  # frames before our answer: their turn comes with it
        else:
            self._parse()

    async def receive(self) -> Any:
        """The next event for the application; with the last one that waits, the socket is read on."""
        message = await self.queue.get()
        if self.queue.empty():
            self._queued_bytes = 0
            if self.read_paused and self.handshake_complete:
                self._read_on()
        return message

    def _pause(self) -> None:
        self.read_paused = True
        self.transport.pause_reading()

    def _read_on(self) -> None:
        """First what was read already, then the socket."""
        self.read_paused = False
        self._parse()
        if not self.read_paused and not self.disconnected:
            self.transport.resume_reading()

    def _parse(self) -> None:
        """Take frames until so many wait for the application that it goes first."""
        buffer, self._rest = self._rest, b""
        if not self.handshake_complete or self.conn.state is not OPEN:
            super().data_received(bytes(buffer))
            return
        start, size, odd = 0, len(buffer), 0
        while start < size and not self.close_sent and not self.read_paused:
            end = self._frame_end(buffer, start)
            if end == OVERSIZED:
                super().data_received(bytes(buffer[start:]))  # it refuses by the head alone
                return
            if end is None or end > size:
                break
            odd += self._take(buffer, start, end)
            start = end
            if odd == ODD:
                self._pause()
                self.loop.call_soon(self._next_turn)
        if not self.close_sent:
            self._rest = buffer[start:] if start else buffer

    def _next_turn(self) -> None:
        """Go on after the others, unless the application is to go first."""
        if self.read_paused and self.queue.empty():
            self._read_on()

    def _frame_end(self, buffer: bytes | bytearray, start: int) -> int | None:
        """Where the frame at `start` ends, None if its head is not all there, or OVERSIZED."""
        if len(buffer) < start + 2:
            return None
        length, head = buffer[start + 1] & 0x7F, 2
        if length == 126:
            head, layout = 4, "!H"
        elif length == 127:
            head, layout = 10, "!Q"
        if head > 2:
            if len(buffer) < start + head:
                return None
            (length,) = struct.unpack_from(layout, buffer, start + 2)
            if length > self.config.ws_max_size:
                return OVERSIZED
        return start + head + (4 if buffer[start + 1] & MASKED else 0) + length

    def _take(self, buffer: bytes | bytearray, start: int, end: int) -> bool:
        """Take one frame. Returns whether it was odd."""
        first, second = buffer[start], buffer[start + 1]
        if not (first in (TEXT, BINARY) and second & MASKED and not self._fragments):
            self._take_odd(first, bytes(buffer[start:end]))
            return True
        length = second & 0x7F
        head = 2 if length < 126 else 4 if length == 126 else 10
        mask = buffer[start + head : start + head + 4]
        self._deliver(apply_mask(buffer[start + head + 4 : end], mask), text=first == TEXT)
        return False

    def _take_odd(self, first: int, frame: bytes) -> None:
        if first == PING and not self.writable.is_set():
            return  # section 5.5.3: an answer to a later one will do
        if first & 0x0F < 8:  # a data frame: fragments follow until one says FIN
            self._fragments = 0 if first & FIN else self._fragments + 1
        if self._fragments <= FRAGMENTS:
            super().data_received(frame)
            return
        self.conn.fail(CloseCode.TOO_LARGE, f"more than {FRAGMENTS} fragments")
        self.handle_parser_exception()

    def _deliver(self, payload: bytes, *, text: bool) -> None:
        self.curr_msg_data_type = "text" if text else "bytes"
        self.frames = [payload]
        paused, self.read_paused = self.read_paused, True
        self.send_receive_event_to_app()
        self.read_paused = paused
        self._queued_bytes += len(payload)
        if not paused and (self.queue.qsize() > QUEUED or self._queued_bytes > QUEUED_BYTES):
            self._pause()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes any more."""
        super().connection_lost(exc)
        # What its parser ended with leads back to it by its traceback: the collector would have to find it.
        self.conn.parser_exc = None

    def handle_parser_exception(self) -> None:
        """Refuse what can't be read; who sent too much is told why, like everybody who is sent away."""
        closed = self.conn.close_sent
        if closed is None or closed.code != CloseCode.TOO_LARGE:
            super().handle_parser_exception()
            return
        self._oversized = self.close_sent = True
        reason = closed.reason
        self.queue.put_nowait(
            {"type": "websocket.disconnect", "code": closed.code, "reason": reason}
        )
        if self.writable.is_set():  # who does not read would not read this either
            self.transport.write(_frame(_message(farewell.too_large(self._subprotocol))))
        self.transport.write(b"".join(self.conn.data_to_send()))
        # A socket that is closed with bytes unread is reset, and the reset may overtake what was said.
        self.read_paused = False
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(LAST_LOOK_S, self.transport.close)

    @property
    def _subprotocol(self) -> str | None:
        return self.response.headers.get("Sec-WebSocket-Protocol")

    async def send(self, message: Any) -> None:
        """Write a message: plain ones at once, in one frame; a revoked device's close cuts it off."""
        if message["type"] == "websocket.send" and self.handshake_complete:
            if not self.writable.is_set():
                await self.writable.wait()
            if self.disconnected:
                raise ClientDisconnected
            if not self.close_sent and self.conn.state is OPEN:
                self.transport.write(_frame(message))
                return
        elif message["type"] == "websocket.close" and message.get("code") == CloseCode.REVOKED:
            await self._cut_off(message)
            return
        elif message["type"] == "websocket.close" and message.get("code") == CloseCode.FULL:
            self.close_timeout = LAST_LOOK_S  # who is turned away is not to be held for long
        await self._send_as_uvicorn(message)
        if self._rest and self.handshake_complete:  # it was accepted, or is closed: go on
            self._read_on()

    async def _send_as_uvicorn(self, message: Any) -> None:
        """Send in uvicorn's own way. Raises ClientDisconnected also where the server itself has closed the socket.

        That was for a ping without an answer, or for what could not be read; uvicorn takes it for a mistake of ours.
        """
        try:
            await super().send(message)
        except RuntimeError:
            if not self.close_sent:
                raise
            raise ClientDisconnected from None

    async def _cut_off(self, message: Any) -> None:
        """Close, and drop what the client has not taken: the revocation holds when this returns."""
        if self.writable.is_set():
            with contextlib.suppress(ClientDisconnected):
                await self._send_as_uvicorn(message)
            await asyncio.sleep(LAST_WORDS_S)
        if self.transport.get_write_buffer_size():
            self.transport.abort()


def _growing(buffer: bytes | bytearray) -> bytearray:
    return buffer if isinstance(buffer, bytearray) else bytearray(buffer)


def _message(data: str | bytes) -> dict[str, str | bytes]:
    return {"bytes" if isinstance(data, bytes) else "text": data}


def _frame(message: Any) -> bytes:
    payload: bytes | None = message.get("bytes")
    first = BINARY
    if payload is None:
        payload, first = message["text"].encode(), TEXT
    length = len(payload)
    if length < 126:
        return bytes((first, length)) + payload
    if length < 65_536:
        return struct.pack("!BBH", first, 126, length) + payload
    return struct.pack("!BBQ", first, 127, length) + payload
