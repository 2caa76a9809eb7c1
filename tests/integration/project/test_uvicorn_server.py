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

Message = dict[str, Any]
PATIENCE_S = 30
CROWD = 64  # connections

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Flood:
    """An ASGI application that writes until the connection fails."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        try:
            with contextlib.suppress(OSError):
                while True:
                    await send({"type": "websocket.send", "bytes": bytes(2**16)})
        finally:
            self.ended.set()


async def nothing() -> None:
    """What these servers have to warm up, and to drain."""


async def test_a_client_that_stops_reading_is_cut_after_a_ping_without_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uvicorn_server, "PING_CUT_S", 0.1)
    application = Flood()
    config = uvicorn.Config(
        application,
        ws=uvicorn_server.WebSocketProtocol,
        ws_ping_interval=0.2,
        ws_ping_timeout=0.2,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
    )
    ready = asyncio.Event()

    server = uvicorn_server.Server(config, warm_up=nothing, drain=nothing, ready=ready.set)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await asyncio.wait_for(ready.wait(), PATIENCE_S)
        with socket.create_connection(listener.getsockname()) as client:
            client.sendall(HANDSHAKE)
            await asyncio.wait_for(application.ended.wait(), PATIENCE_S)
        assert not server.server_state.connections
        server.begin_end()
        await asyncio.wait_for(serving, PATIENCE_S)


async def test_nobody_waits_for_a_process_that_is_still_starting() -> None:
    config = uvicorn.Config(answer, lifespan="off", log_config=None)
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


async def answer(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Say OK to every request."""
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
    )
    await send({"type": "http.response.body"})


@contextlib.asynccontextmanager
async def answering(application: Any = answer) -> AsyncIterator[tuple[str, int]]:
    """Our server with an application that says OK, or another one; its address."""
    config = uvicorn.Config(
        application,
        http=uvicorn_server.HttpProtocol,
        timeout_keep_alive=PATIENCE_S,
        lifespan="off",
        log_config=None,
    )
    ready = asyncio.Event()

    server = uvicorn_server.Server(config, warm_up=nothing, drain=nothing, ready=ready.set)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await asyncio.wait_for(ready.wait(), PATIENCE_S)
        yield listener.getsockname()
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
    async with answering() as address:
        heard = await ask(address, *said)
    assert heard.count(b" 200 ") == said.count(REQUEST)


async def test_a_client_whose_request_drips_in_is_not_kept_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uvicorn_server, "HEAD_S", 0.5)
    async with answering() as address:
        reader, writer = await asyncio.open_connection(*address)
        dripping = asyncio.create_task(drip(writer))
        assert await asyncio.wait_for(reader.read(), PATIENCE_S / 2) == b""
        dripping.cancel()
        writer.close()


async def drip(writer: asyncio.StreamWriter) -> None:
    """A byte of a head at a time, for ever."""
    while True:
        writer.write(b"G" if not writer.is_closing() else b"")
        await asyncio.sleep(0.05)


def test_a_busy_loop_accepts_several_connections_in_each_turn() -> None:
    """libuv alone would accept one."""

    async def crowd() -> int:
        ready = asyncio.Event()

        config = uvicorn.Config(answer, lifespan="off", log_config=None)
        server = uvicorn_server.Server(config, warm_up=nothing, drain=nothing, ready=ready.set)
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=CROWD))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            await asyncio.wait_for(ready.wait(), PATIENCE_S)
            for _ in range(CROWD):
                client = stack.enter_context(socket.socket())
                client.connect(listener.getsockname())  # the kernel answers
            turns = 0
            while len(server.server_state.connections) < CROWD:
                await asyncio.sleep(0)
                turns += 1
        server.begin_end()
        await asyncio.wait_for(serving, PATIENCE_S)
        return turns

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(crowd()) < CROWD / 2


class Revoked(Flood):
    """Writes until the client has taken nothing for a moment, then closes as for a revoked device."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0.2):
                    await send({"type": "websocket.send", "bytes": bytes(2**16)})
                self.written += 2**16
        await send({"type": "websocket.close", "code": 4501})
        self.ended.set()


async def test_a_revoked_device_that_does_not_read_never_gets_what_was_still_ours() -> None:
    application = Revoked()
    config = uvicorn.Config(
        application,
        ws=uvicorn_server.WebSocketProtocol,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
    )
    ready = asyncio.Event()

    server = uvicorn_server.Server(config, warm_up=nothing, drain=nothing, ready=ready.set)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await asyncio.wait_for(ready.wait(), PATIENCE_S)
        with socket.create_connection(listener.getsockname()) as client:
            client.sendall(HANDSHAKE)
            await asyncio.wait_for(application.ended.wait(), PATIENCE_S)
            taken = await asyncio.to_thread(everything, client)
        assert taken < application.written
        server.begin_end()
        await asyncio.wait_for(serving, PATIENCE_S)


def everything(client: socket.socket) -> int:
    """How many bytes there are to read until the connection ends."""
    client.settimeout(PATIENCE_S)
    count = 0
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(2**20):
            count += len(data)
    return count


class Endless:
    """An ASGI application whose answer has no end; it notes when its client is gone."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        writing = asyncio.create_task(self._write(send))
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone.set()
        writing.cancel()

    async def _write(self, send: Callable[[Message], Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(2**16), "more_body": True})


async def test_a_client_that_does_not_read_its_answer_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uvicorn_server, "UNREAD_S", 0.2)
    application = Endless()
    async with answering(application) as address:
        with socket.create_connection(address) as client:
            client.sendall(REQUEST)
            await asyncio.wait_for(application.gone.wait(), PATIENCE_S)
