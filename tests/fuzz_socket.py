"""A share of the fuzzer's messages through a real socket: the server must go on answering, and say nothing of errors."""

from __future__ import annotations

import json
import time

import msgspec
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from messaging.protocol.codec import JSON, MSGPACK, Codec
from tests.mutator import Mutator

PATIENCE_S = 10.0
AT_ONCE = 50  # messages of a connection, if it lives so long


def through(url: str, token: str, *, frames: int, seed: int) -> str:
    """Send so many frames over connections of the device; a sound one must be answered after each. Returns a sentence."""
    source, sent, connections, began = Mutator(seed), 0, 0, time.perf_counter()
    while sent < frames:
        codec = source.random.choice((JSON, MSGPACK))
        try:
            with _line(url, codec) as socket:
                if source.random.random() < 0.8:
                    _hello(socket, codec, token)
                for _ in range(AT_ONCE):
                    data, count = source.message(codec)
                    socket.send(data)
                    sent += count
        except (ConnectionClosed, InvalidMessage):
            pass  # that is an answer, too
        connections += 1
        if connections % 10 == 0:
            assert_answers(url, token)
    assert_answers(url, token)
    took = time.perf_counter() - began
    return f"{sent} frames over {connections} connections in {took:.0f} s ({sent / took:.0f}/s)"


def assert_answers(url: str, token: str) -> None:
    """A sound client is welcome, and gets its pong, in time."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with _line(url, JSON) as socket:
                _hello(socket, JSON, token)
                return
        except (ConnectionClosed, InvalidStatus):  # told to come back later: that is no hang
            assert time.monotonic() < deadline, "the server answers no more"
            time.sleep(0.2)


def _line(url: str, codec: Codec) -> ClientConnection:
    return connect(url, subprotocols=[codec.subprotocol], close_timeout=1)  # type: ignore[list-item]


def _hello(socket: ClientConnection, codec: Codec, token: str) -> None:
    """Say hello and a ping, and wait for the pong. Raises ConnectionClosed, TimeoutError."""
    frames = [{"type": "hello", "token": token}, {"type": "ping", "ref": "sound"}]
    socket.send(_packed(codec, frames[0]))
    while "welcome" not in _names(socket, codec):
        pass
    socket.send(_packed(codec, frames[1]))
    while "pong" not in _names(socket, codec):
        pass


def _names(socket: ClientConnection, codec: Codec) -> list[str]:
    return [frame.name for frame in codec.decode_server(socket.recv(timeout=PATIENCE_S))]


def _packed(codec: Codec, frame: dict[str, str]) -> str | bytes:
    return json.dumps(frame) if codec is JSON else msgspec.msgpack.encode(frame)
