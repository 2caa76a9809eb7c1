"""The short way for plain frames is told apart from uvicorn's own way by nobody."""

import asyncio
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.utils import ClientDisconnected

from project.limits import FRAGMENTS
from project.uvicorn_server import WebSocketProtocol
from project.websocket import ODD, QUEUED, QUEUED_BYTES

MAX = 100_000
MASK = b"\x01\x02\x03\x04"
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def frame(first: int, payload: bytes, *, masked: bool = True) -> bytes:
    """A client's frame with `first` as its first byte."""
    size = len(payload)
    length = (
        bytes((size,))
        if size < 126
        else struct.pack("!BH", 126, size)
        if size < 65536
        else struct.pack("!BQ", 127, size)
    )
    if not masked:
        return bytes((first,)) + length + payload
    head = bytes((first, length[0] | 0x80)) + length[1:]
    return head + MASK + bytes(byte ^ MASK[n % 4] for n, byte in enumerate(payload))


class Socket:
    """A raw client: bytes out, whole server frames in."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: WebSocketProtocol,
    ) -> None:
        self.reader, self.writer = reader, writer
        self.server = server  # the other end

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: first byte and payload."""
        first, size = await self.reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return first, await self.reader.readexactly(size)

    async def close_code(self) -> int:
        """Pass over everything until the close frame; its code."""
        while True:
            first, payload = await self.frame()
            if first == 0x88:
                return int(struct.unpack("!H", payload[:2])[0])


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An ASGI application that says everything back."""
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


@pytest.fixture
async def socket() -> AsyncIterator[Socket]:
    """An open WebSocket to a server that runs the protocol under test."""
    config = uvicorn.Config(
        echo,
        port=0,
        ws=WebSocketProtocol,
        ws_max_size=MAX,
        ws_per_message_deflate=False,
        lifespan="off",
        log_level="error",
    )
    config.load()
    connections: set[Any] = set()
    state = uvicorn.server.ServerState()

    def protocol() -> WebSocketProtocol:
        made = WebSocketProtocol(config=config, server_state=state, app_state={})
        connections.add(made)
        return made

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    yield Socket(reader, writer, next(iter(connections)))
    writer.close()
    server.close()
    for made in connections:
        made.transport.abort()
        await asyncio.gather(*made.tasks, return_exceptions=True)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, MAX])
@pytest.mark.parametrize("first", [0x81, 0x82])
async def test_frames_of_every_length_class_come_back_whole(
    socket: Socket, first: int, size: int
) -> None:
    payload = bytes(97 + n % 26 for n in range(size))
    socket.writer.write(frame(first, payload))
    assert await socket.frame() == (first, payload)


async def test_several_frames_in_one_segment_keep_their_order(socket: Socket) -> None:
    socket.writer.write(b"".join(frame(0x81, b"%d" % n) for n in range(100)))
    assert [(await socket.frame())[1] for _ in range(100)] == [b"%d" % n for n in range(100)]


async def test_a_frame_that_dribbles_in_byte_by_byte_is_one_message(socket: Socket) -> None:
    for byte in frame(0x81, b"x" * 130):
        socket.writer.write(bytes((byte,)))
        await socket.writer.drain()
        await asyncio.sleep(0)
    assert await socket.frame() == (0x81, b"x" * 130)


async def test_fragments_with_a_ping_between_them_are_one_message(socket: Socket) -> None:
    socket.writer.write(
        frame(0x01, b"one ") + frame(0x89, b"ping") + frame(0x80, b"two") + frame(0x81, b"next")
    )
    assert [await socket.frame() for _ in range(3)] == [
        (0x8A, b"ping"),
        (0x81, b"one two"),
        (0x81, b"next"),
    ]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(0x81, b"x" * (MAX + 1)), 1009),
        (frame(0x81, b"unmasked", masked=False), 1002),
        (frame(0x81, b"\xff\xfe"), 1007),
        (frame(0xC1, b"reserved bit"), 1002),
        (frame(0x80, b"a continuation of nothing"), 1002),
        (frame(0x01, b"first") + frame(0x81, b"not a continuation"), 1002),
        (frame(0x88, struct.pack("!H", 1000)), 1000),
    ],
)
async def test_what_is_odd_is_answered_as_uvicorn_does(
    socket: Socket, data: bytes, code: int
) -> None:
    socket.writer.write(frame(0x81, b"before") + data)
    assert await socket.close_code() == code


async def test_an_oversized_frame_is_refused_before_it_has_arrived(socket: Socket) -> None:
    socket.writer.write(b"\x81" + struct.pack("!BQ", 127 | 0x80, MAX + 1) + MASK)
    assert await socket.close_code() == 1009


async def test_whoever_writes_to_a_socket_that_the_server_itself_has_closed_hears_that_the_client_is_gone(
    socket: Socket,
) -> None:
    """uvicorn calls that a mistake of the application. A revocation has nobody to cut off any more."""
    socket.writer.write(b"\x81" + struct.pack("!BQ", 127 | 0x80, MAX + 1) + MASK)
    assert await socket.close_code() == 1009
    for late in (
        {"type": "websocket.send", "text": "x"},
        {"type": "websocket.close", "code": 4000},
    ):
        with pytest.raises(ClientDisconnected):
            await socket.server.send(late)
    await socket.server.send({"type": "websocket.close", "code": 4501})


async def test_one_read_full_of_tiny_frames_is_taken_in_small_portions(socket: Socket) -> None:
    tiny = [b"%x" % (n % 16) for n in range(2**18 // 7)]
    longest = 0

    class Queue(asyncio.Queue[Any]):
        def _put(self, item: Any) -> None:
            nonlocal longest
            super()._put(item)
            longest = max(longest, self.qsize())

    waiting, socket.server.queue = socket.server.queue, Queue()
    # So that the application asks the new queue.
    waiting.put_nowait({"type": "websocket.receive", "bytes": b"first"})
    assert await socket.frame() == (0x82, b"first")
    socket.server.data_received(b"".join(frame(0x81, one) for one in tiny))
    assert [(await socket.frame())[1] for _ in tiny] == tiny
    assert longest == QUEUED + 1


async def test_frames_before_the_answer_to_the_handshake_wait_for_it(socket: Socket) -> None:
    reader, writer = await asyncio.open_connection(*socket.writer.get_extra_info("peername"))
    writer.write(HANDSHAKE + frame(0x81, b"early") * 3)
    await reader.readuntil(b"\r\n\r\n")
    early = Socket(reader, writer, socket.server)
    assert [(await early.frame())[1] for _ in range(3)] == [b"early"] * 3
    writer.close()


async def test_a_frame_in_many_small_segments_costs_as_much_as_in_few(socket: Socket) -> None:
    """Joined anew with each segment, a frame of 1 MiB in bytes would be copied half a million times."""
    sent = frame(0x82, b"x" * MAX)
    joined: set[int] = set()
    for n in range(0, len(sent), 100):
        socket.server.data_received(sent[n : n + 100])
        joined.add(id(socket.server._rest))
    assert await socket.frame() == (0x82, b"x" * MAX)
    assert len(joined) <= 3  # the first segment, the buffer that grows, and the empty rest


async def test_what_waits_for_a_late_consumer_is_bounded_in_bytes(socket: Socket) -> None:
    """Sixteen messages of 1 MiB are 16 MiB of each of a thousand sockets."""
    one = frame(0x82, b"x" * 40_000)
    socket.server.data_received(one * 10)  # the consumer has no turn meanwhile
    assert socket.server.queue.qsize() * 40_000 <= QUEUED_BYTES + 40_000
    assert [await socket.frame() for _ in range(10)] == [(0x82, b"x" * 40_000)] * 10


async def test_who_sends_pings_and_reads_no_pongs_costs_no_memory(socket: Socket) -> None:
    """A flood of them took 10 MB a second of a server."""
    socket.server.pause_writing()  # as the transport does, above its mark
    for _ in range(10 * ODD):
        socket.server.data_received(frame(0x89, b"x" * 125))
        await asyncio.sleep(0)
    assert socket.server.transport.get_write_buffer_size() == 0
    socket.server.resume_writing()
    socket.writer.write(frame(0x89, b"last"))
    assert await socket.frame() == (0x8A, b"last")


async def test_a_message_of_fragments_without_end_is_refused(socket: Socket) -> None:
    """Empty ones never reach the limit in bytes."""
    socket.writer.write(frame(0x01, b"") + frame(0x00, b"") * FRAGMENTS)
    assert await socket.close_code() == 1009


async def test_a_message_of_as_many_fragments_as_may_be_is_taken(socket: Socket) -> None:
    for _ in range(2):
        socket.writer.write(
            frame(0x01, b"a") + frame(0x00, b"b") * (FRAGMENTS - 1) + frame(0x80, b"c")
        )
        assert await socket.frame() == (0x81, b"a" + b"b" * (FRAGMENTS - 1) + b"c")


async def test_one_read_full_of_pings_leaves_turns_to_the_others(socket: Socket) -> None:
    socket.server.data_received(frame(0x89, b"") * (3 * ODD) + frame(0x81, b"last"))
    assert socket.server.read_paused
    heard = [await socket.frame() for _ in range(3 * ODD + 1)]
    assert heard == [(0x8A, b"")] * (3 * ODD) + [(0x81, b"last")]
    assert not socket.server.read_paused


async def test_compression_is_not_agreed_on(socket: Socket) -> None:
    """So there is nothing that could inflate."""
    reader, writer = await asyncio.open_connection(*socket.writer.get_extra_info("peername"))
    writer.write(HANDSHAKE[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    assert b"extensions" not in (await reader.readuntil(b"\r\n\r\n")).lower()
    writer.close()
