"""A session that has ended is freed at once: what only the collector finds makes it look at all others, too."""

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from messaging.consumers import DeviceConsumer
from messaging.engine import Engine
from project.uvicorn_server import WebSocketProtocol
from tests import scene
from tests.device import Frame, InProcess, greeted
from tests.scene import Room

pytestmark = pytest.mark.django_db


@pytest.fixture
async def address(engine: Engine) -> AsyncIterator[tuple[str, list[weakref.ref[Any]]]]:
    """A server, and what it has made for its connections as long as that exists."""
    alive: list[weakref.ref[Any]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        consumer = DeviceConsumer()
        alive.append(weakref.ref(consumer))
        await consumer(scope, receive, send)

    config = uvicorn.Config(
        application, ws=WebSocketProtocol, ws_per_message_deflate=False, lifespan="off", log_level="error"
    )  # fmt: skip
    config.load()
    state = uvicorn.server.ServerState()

    def protocol() -> WebSocketProtocol:
        made = WebSocketProtocol(config=config, server_state=state, app_state={})
        alive.append(weakref.ref(made))
        return made

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield f"ws://127.0.0.1:{port}", alive
    server.close()


async def close(socket: ClientConnection) -> None:
    await socket.close()


async def cut(socket: ClientConnection) -> None:
    socket.transport.abort()


async def leave(socket: ClientConnection) -> None:
    socket.transport.close()


async def talk_nonsense(socket: ClientConnection) -> None:
    socket.transport.write(b"\xff" * 20)
    await socket.wait_closed()


@pytest.mark.parametrize("end", [close, cut, leave, talk_nonsense])
async def test_a_session_that_ended_leaves_nothing_to_the_collector(
    address: tuple[str, list[weakref.ref[Any]]], room: Room, end: Any
) -> None:
    url, alive = address
    hello = json.dumps({"type": "hello", "token": room.first.token})
    gc.disable()
    try:
        socket = await connect(url)
        await socket.send(hello)
        assert "welcome" in str(await socket.recv())
        first = list(alive)
        assert len(first) == 2
        await end(socket)
        async with connect(url) as another:  # so that the last look at presence is one at it
            await another.send(hello)
            await scene.eventually(
                lambda: not [one for one in first if one() is not None],
                what=lambda: f"freed: {[one() for one in first if one() is not None]}",
            )
    finally:
        gc.enable()


class Gone(InProcess):
    """Its client goes without a word: whoever writes to it then meets an error."""

    gone = False

    async def _send(self, event: Frame) -> None:
        if self.gone:
            raise OSError("the client is gone")
        await super()._send(event)


async def test_a_session_that_wrote_to_a_client_that_was_gone_leaves_nothing_either(
    engine: Engine, room: Room
) -> None:
    """The error knows where it was met, and so does whoever keeps it."""
    gc.disable()
    try:
        consumer = DeviceConsumer()
        alive = weakref.ref(consumer)
        socket = Gone(consumer)
        del consumer
        device = await greeted(socket, room.first.token)
        socket.gone = True
        await device.say({"type": "ping"})
        await asyncio.wait({socket.task})
        async with asyncio.timeout(scene.PATIENCE_S):
            while alive() is not None:
                await engine.hub.presence.check()  # the last look at presence is one at it
                await asyncio.sleep(scene.LOOK_S)
    finally:
        gc.enable()
