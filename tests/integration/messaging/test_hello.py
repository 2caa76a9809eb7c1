"""How a session begins: by its token, subprotocol and origin, and within its time."""

import asyncio
from typing import Any

import msgspec
import pytest

from messaging import consumers
from messaging.consumers import DeviceConsumer
from messaging.engine import Engine
from messaging.protocol.errors import CloseCode
from tests.device import Device, InProcess, greeted
from tests.scene import Room

pytestmark = pytest.mark.django_db


async def test_the_token_may_come_in_the_header_or_in_hello(engine: Engine, room: Room) -> None:
    by_frame = await greeted(InProcess(DeviceConsumer()), room.first.token)
    by_header = await greeted(InProcess(DeviceConsumer(), token=room.first.token), None)
    for device in (by_frame, by_header):
        assert device.welcome is not None
        assert device.welcome["device"] == room.first.device
        assert device.welcome["user"] == room.first.user
        await device.cut()


async def test_an_unknown_token_is_told_not_to_come_back(engine: Engine) -> None:
    device = await greeted(InProcess(DeviceConsumer()), "no such token")
    assert await device.ended() == CloseCode.UNAUTHORIZED
    goodbye = device.heard[-1]
    assert goodbye["reason"] == "unauthorized"
    assert "reconnect_after" not in goodbye


async def test_without_a_token_there_is_no_session(engine: Engine) -> None:
    device = await greeted(InProcess(DeviceConsumer()), None)
    assert await device.ended() == CloseCode.UNAUTHORIZED


async def test_a_hello_that_the_database_can_not_answer_is_told_to_come_back(
    engine: Engine, room: Room
) -> None:
    await engine.roster.stop()  # from here on it asks nobody
    device = await greeted(InProcess(DeviceConsumer()), room.first.token)
    assert await device.ended() == CloseCode.UNAVAILABLE
    goodbye = device.heard[-1]
    assert goodbye["reason"] == "unavailable"
    assert goodbye["reconnect_after"] > 0


async def test_a_socket_that_does_not_say_hello_is_closed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "HELLO_S", 0.05)
    device = await Device("").connect(InProcess(DeviceConsumer()), hello=False)
    assert await device.ended() == CloseCode.HELLO_TIMEOUT
    assert device.heard[-1]["reconnect_after"] > 0


async def test_a_hello_that_came_in_time_is_answered_however_long_that_takes(
    engine: Engine, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand devices that come back at once wait for each other; cut off, they would come again."""
    timed_out, arrived = asyncio.Event(), engine.roster.arrive

    async def slowly(token: str) -> Any:
        await timed_out.wait()
        return await arrived(token)

    class Watched(DeviceConsumer):
        def _expect_hello(self) -> None:
            super()._expect_hello()
            timed_out.set()

    monkeypatch.setattr(consumers, "HELLO_S", 0.05)
    monkeypatch.setattr(engine.roster, "arrive", slowly)
    device = await greeted(InProcess(Watched()), room.first.token)
    assert timed_out.is_set()
    assert device.welcome is not None
    assert device.closed is None
    await device.cut()


async def test_a_hello_does_not_wait_behind_the_pages_of_who_catches_up(
    engine: Engine, room: Room
) -> None:
    """After a restart under load they were minutes of work, and a client has 10 s of patience."""
    async with engine.hub.feed._lock:  # a page that takes its time
        device = await greeted(InProcess(DeviceConsumer()), room.first.token)
        assert device.welcome is not None
    await device.cut()


async def test_both_subprotocols_are_spoken_and_others_refused(engine: Engine, room: Room) -> None:
    binary = InProcess(DeviceConsumer(), subprotocols=["else", "lockstep.v1.msgpack"])
    assert (await binary.event())["subprotocol"] == "lockstep.v1.msgpack"
    hello = {"type": "hello", "token": room.first.token}
    await binary.send_bytes(msgspec.msgpack.encode(hello))
    welcome = msgspec.msgpack.decode((await binary.event())["bytes"])
    assert (welcome[0] if isinstance(welcome, list) else welcome)["type"] == "welcome"
    await binary.cut()

    other = await Device("").connect(
        InProcess(DeviceConsumer(), subprotocols=["graphql-ws"]), hello=False
    )
    assert await other.ended() == CloseCode.SUBPROTOCOL


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [("http://testserver", True), ("http://evil.example", False), ("null", False)],
)
async def test_only_pages_of_this_site_may_open_a_socket(
    engine: Engine, room: Room, origin: str, allowed: bool
) -> None:
    socket = InProcess(DeviceConsumer(), headers=[(b"origin", origin.encode())])
    device = await greeted(socket, room.first.token)
    assert (device.welcome is not None) is allowed
    if not allowed:
        assert await device.ended() == CloseCode.ORIGIN
    await device.cut()
