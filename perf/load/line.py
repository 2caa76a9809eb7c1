"""One WebSocket of a device, on picows: bytes in, bytes out, and how it ended. Opened once, never again.

Law: a message has the moment at which it was read from its socket. What it says is looked at when every socket
that had something was read: many devices share a process, and none waits for what the others make of theirs.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic_ns
from typing import Protocol

from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

logging.getLogger("picows").setLevel(logging.WARNING)  # two lines per connection are too many

SUBPROTOCOL = "lockstep.v1.json"
CONNECT_S = 10.0
# How RFC 6455 calls a close frame without a code, and an end without a close frame.
NO_CODE, LOST = 1005, 1006

FAILURES = (OSError, WSError, TimeoutError)
"""How opening a line fails."""


class Owner(Protocol):
    """Whom a line tells what the socket says."""

    def on_open(self, line: Line) -> None:
        """The handshake is done."""

    def on_message(self, line: Line, data: bytes, t: int) -> None:
        """A message came, at the moment `t` in ns of CLOCK_MONOTONIC."""

    def on_end(self, line: Line, code: int) -> None:
        """The connection is gone."""


class Line(WSListener):
    """A connection to come, or one that was."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._code = LOST
        self._closed = self._opened = False
        self._transport: WSTransport | None = None
        self._came: list[tuple[bytes, int]] = []

    async def open(self, url: str, *, source: str | None = None) -> None:
        """Connect to the server at this http address, from the local address `source`. Raises FAILURES."""
        await ws_connect(
            lambda: self,
            url.replace("http", "ws", 1).rstrip("/") + "/ws/",
            extra_headers={"Sec-WebSocket-Protocol": SUBPROTOCOL},
            websocket_handshake_timeout=CONNECT_S,
            local_addr=(source, 0) if source is not None else None,
        )
        if not self._opened:  # picows says nothing of it
            raise ConnectionResetError("the connection ended before its handshake did")

    def send(self, data: bytes) -> None:
        """Write one message; nothing happens once the connection is gone."""
        if self._transport is not None:
            self._transport.send(WSMsgType.TEXT, data)

    def stall(self, *, stalled: bool) -> None:
        """Leave what comes in the kernel's buffers, or take it again."""
        if self._transport is not None:
            under = self._transport.underlying_transport
            if stalled:
                under.pause_reading()
            else:
                under.resume_reading()

    def close(self) -> None:
        """End the connection; the owner is told as of any other end. One that was not open yet never will be."""
        self._closed = True
        if self._transport is not None:
            self._transport.send_close()
            self._transport.disconnect()

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Pass it on; who has given up meanwhile hears nothing of it."""
        if self._closed:
            transport.disconnect()
            return
        self._opened, self._transport = True, transport
        self._owner.on_open(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Note when a message came, to pass it on; remember the code of a close."""
        t, data = monotonic_ns(), frame.get_payload_as_bytes()
        if frame.msg_type == WSMsgType.CLOSE:
            self._code = int.from_bytes(data[:2], "big") or NO_CODE
            transport.disconnect()
            return
        if not self._came:
            asyncio.get_running_loop().call_soon(self._pass_on)
        self._came.append((data, t))

    def _pass_on(self) -> None:
        came, self._came = self._came, []
        for data, t in came:
            self._owner.on_message(self, data, t)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Pass it on, after what came before it."""
        self._pass_on()
        self._transport = None
        self._owner.on_end(self, self._code)
