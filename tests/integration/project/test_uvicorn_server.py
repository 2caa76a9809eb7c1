"""uvicorn as we run it listens when it is ready, and is held by no client that does not read."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvicorn
import uvloop

from project import ports, uvicorn_server
from tests import scene

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
PATIENCE_S = 30
CROWD = 64  # connections

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Application:
    """An ASGI application that tells when it has ended."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.written = 0  # bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        try:
            await self.serve(receive, send)
        finally:
            self.ended.set()

    async def serve(self, receive: Receive, send: Send) -> None:
        """Say OK to every request."""
        start = {"type": "http.response.start", "status": 200}
        await send({**start, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})


class Flood(Application):
    """Accepts a socket and writes until the connection fails, or nothing was taken for `patience_s`; then closes with `code`."""

    def __init__(self, *, patience_s: float | None = None, code: int | None = None) -> None:
        super().__init__()
        self._patience_s, self._code = patience_s, code

    async def serve(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        with contextlib.suppress(OSError):  # a TimeoutError is one, too
            while True:
                async with asyncio.timeout(self._patience_s):
                    await send({"type": "websocket.send", "bytes": bytes(2**16)})
                self.written += 2**16
        if self._code is not None:
            await send({"type": "websocket.close", "code": self._code})


class Farewell(Application):
    """Accepts a socket and closes it at once, as a process does that ends."""

    async def serve(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1012})


class Endless(Application):
    """Its answer has no end, but with its client."""

    async def serve(self, receive: Receive, send: Send) -> None:
        writing = asyncio.create_task(self._write(send))
        while (await receive())["type"] != "http.disconnect":
            pass
        writing.cancel()

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(2**16), "more_body": True})


async def nothing() -> None:
    """What these servers have to warm up, and to drain."""


@contextlib.asynccontextmanager
async def serving(
    application: Application | None = None, **options: Any
) -> AsyncIterator[tuple[tuple[str, int], uvicorn_server.Server]]:
    """Our server with this application, and uvicorn's options; its address, and itself."""
    config = uvicorn.Config(
        application or Application(),
        http=uvicorn_server.HttpProtocol,
        ws=uvicorn_server.WebSocketProtocol,
        ws_per_message_deflate=False,
        timeout_keep_alive=PATIENCE_S,
        lifespan="off",
        log_config=None,
        **options,
    )
    ready = asyncio.Event()
    server = uvicorn_server.Server(config, warm_up=nothing, drain=nothing, ready=ready.set)
    with socket.create_server(("127.0.0.1", 0), backlog=CROWD) as listener:
        running = asyncio.create_task(server.serve(sockets=[listener]))
        await asyncio.wait_for(ready.wait(), PATIENCE_S)
        yield listener.getsockname(), server
        server.begin_end()
        await asyncio.wait_for(running, PATIENCE_S)


async def test_a_client_that_stops_reading_is_cut_after_a_ping_without_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uvicorn_server, "PING_CUT_S", 0.1)
    application = Flood()
    async with serving(application, ws_ping_interval=0.2, ws_ping_timeout=0.2) as (address, server):
        with socket.create_connection(address) as client:
            client.sendall(HANDSHAKE)
            await asyncio.wait_for(application.ended.wait(), PATIENCE_S)
        assert not server.server_state.connections


@pytest.mark.parametrize("answers", [True, False])
async def test_a_process_that_ends_waits_a_while_for_answers_to_its_close(
    answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn_server, "ANSWERS_S", PATIENCE_S if answers else 0.1)
    closing, left = asyncio.Event(), []

    async def shutdown(self: uvicorn.Server, sockets: object = None) -> None:
        left.append(len(self.server_state.connections))
        closing.set()
        await end(self)

    end = uvicorn.Server.shutdown
    monkeypatch.setattr(uvicorn.Server, "shutdown", shutdown)
    application = Farewell()
    async with serving(application) as (address, server):
        with socket.create_connection(address) as client:
            client.sendall(HANDSHAKE)
            await asyncio.wait_for(application.ended.wait(), PATIENCE_S)
            server.begin_end()
            if answers:
                with pytest.raises(TimeoutError):  # its main loop looks ten times a second
                    await asyncio.wait_for(closing.wait(), 0.3)
                client.sendall(b"\x81\x80\0\0\0\0")  # what was on its way does not end it
                client.sendall(b"\x88\x82\0\0\0\0\x03\xf4")
            await asyncio.wait_for(closing.wait(), PATIENCE_S)
    assert left == [0 if answers else 1]


async def test_nobody_waits_for_a_process_that_is_still_starting() -> None:
    config = uvicorn.Config(Application(), lifespan="off", log_config=None)
    ready = asyncio.Event()
    with contextlib.closing(ports.reserve("127.0.0.1", 0)) as holder:
        address = holder.getsockname()

        async def warm_up() -> None:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)

        server = uvicorn_server.Server(config, warm_up=warm_up, drain=nothing, ready=ready.set)
        with contextlib.closing(ports.join(*address)) as mine:
            serving = asyncio.create_task(server.serve(sockets=[mine]))
            await asyncio.wait_for(ready.wait(), PATIENCE_S)
            socket.create_connection(address).close()
            server.begin_end()
            await asyncio.wait_for(serving, PATIENCE_S)


REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def ask(address: tuple[str, int], *parts: bytes) -> bytes:
    """Say something in parts; return everything that was answered until the server closed."""
    reader, writer = await asyncio.open_connection(*address)
    heard = b""
    try:
        for part in parts:
            writer.write(part)
            if part.endswith(b"\r\n\r\n"):
                heard += await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S / 2)
        return heard + await asyncio.wait_for(reader.read(), PATIENCE_S / 2)
    finally:
        writer.close()


@pytest.mark.parametrize(
    "said",
    [[], [b"GET / HTT"], [REQUEST, b"GET / HTTP/1.1\r\nHos"]],
    ids=["nothing", "half a request", "a request and a half"],
)
async def test_a_client_that_says_no_whole_request_is_not_kept(
    said: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn_server, "HEAD_S", 0.2)
    async with serving() as (address, _):
        heard = await ask(address, *said)
    assert heard.count(b" 200 ") == said.count(REQUEST)


async def test_a_client_whose_request_drips_in_is_not_kept_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uvicorn_server, "HEAD_S", 0.5)
    async with serving() as (address, _):
        reader, writer = await asyncio.open_connection(*address)
        dripping = asyncio.create_task(drip(writer))
        assert await asyncio.wait_for(reader.read(), PATIENCE_S / 2) == b""
        dripping.cancel()
        writer.close()


async def test_a_head_above_16_kib_is_refused_before_it_ends() -> None:
    """What is kept of a stranger's request is bounded by more than time."""
    most = uvicorn_server.config().h11_max_incomplete_event_size
    async with serving(h11_max_incomplete_event_size=most) as (address, _):
        heard = await ask(address, b"GET / HTTP/1.1\r\nX-Large: " + b"a" * 17_000)
    assert heard.startswith(b"HTTP/1.1 400 ")


async def drip(writer: asyncio.StreamWriter) -> None:
    """A byte of a head at a time, for ever."""
    while True:
        writer.write(b"G" if not writer.is_closing() else b"")
        await asyncio.sleep(0.05)


def test_a_busy_loop_accepts_several_connections_in_each_turn() -> None:
    """libuv alone would accept one."""

    async def crowd() -> int:
        turns = 0
        async with serving() as (address, server):
            with contextlib.ExitStack() as stack:
                for _ in range(CROWD):
                    client = stack.enter_context(socket.socket())
                    client.connect(address)  # the kernel answers
                while len(server.server_state.connections) < CROWD:
                    await asyncio.sleep(0)
                    turns += 1
        return turns

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(crowd()) < CROWD / 2


async def test_a_revoked_device_that_does_not_read_never_gets_what_was_still_ours() -> None:
    application = Flood(patience_s=0.2, code=4501)
    async with serving(application) as (address, _):
        with socket.create_connection(address) as client:
            client.sendall(HANDSHAKE)
            await asyncio.wait_for(application.ended.wait(), PATIENCE_S)
            taken = await asyncio.to_thread(everything, client)
        assert taken < application.written


async def test_what_a_session_that_has_ended_left_to_a_client_that_does_not_read_is_soon_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The session is not counted any more: who comes again and again would have as much kept each time."""
    monkeypatch.setattr(uvicorn_server, "LEFT_CUT_S", 0.1)
    application = Flood(patience_s=0.2)
    async with serving(application) as (address, server):
        with socket.create_connection(address) as client:
            client.sendall(HANDSHAKE)
            await asyncio.wait_for(application.ended.wait(), PATIENCE_S)
            (left,) = server.server_state.connections
            assert left.transport.get_write_buffer_size() > 0
            gone = scene.eventually(lambda: not server.server_state.connections)
            await asyncio.wait_for(gone, uvicorn_server.END_CUT_S / 2)


def everything(client: socket.socket) -> int:
    """How many bytes there are to read until the connection ends."""
    client.settimeout(PATIENCE_S)
    count = 0
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(2**20):
            count += len(data)
    return count


async def test_a_client_that_does_not_read_its_answer_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uvicorn_server, "UNREAD_S", 0.2)
    application = Endless()
    async with serving(application) as (address, _):
        with socket.create_connection(address) as client:
            client.sendall(REQUEST)
            await asyncio.wait_for(application.ended.wait(), PATIENCE_S)
