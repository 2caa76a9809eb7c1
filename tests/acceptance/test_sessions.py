"""Sessions through a real server and real sockets, with a client that is not ours.

The client is `tests.device`, written from the protocol page, over the `websockets` library: what it
holds here, a stranger's client holds. The same promises are kept by uvicorn and by Daphne.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

import pytest
from websockets.exceptions import InvalidMessage

from messaging.protocol.errors import CloseCode
from messaging.protocol.frames import MAX_FRAME_BYTES
from tests import scene
from tests import server as servers
from tests.device import Device, Frame
from tests.integration.conftest import hand, shared_database, sql  # noqa: F401  (fixtures)
from tests.scene import Psql, Room, Seat
from tests.server import START_S, Server

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


@pytest.fixture(scope="module")
def environment(
    shared_database: None,  # noqa: F811
    database_url: str,
    redis_url: str,
) -> dict[str, str]:
    return {"DATABASE_URL": scene.database_url(), "REDIS_URL": redis_url}


@pytest.fixture(scope="module", params=["uvicorn", "daphne"])
def server(request: pytest.FixtureRequest, environment: dict[str, str]) -> Iterator[Server]:
    """One for many tests."""
    made = Server(request.param, environment)
    yield made
    made.stop()


@pytest.fixture
def own_server(request: pytest.FixtureRequest, environment: dict[str, str]) -> Iterator[Server]:
    """One that a test may kill."""
    made = Server(getattr(request, "param", "uvicorn"), environment)
    yield made
    made.stop()


@pytest.fixture
def room(sql: Psql) -> Room:  # noqa: F811
    return scene.new_room(sql)


class Dial(Protocol):
    """Connects a device to a server, or a new one of this seat."""

    async def __call__(
        self, server: Server, who: Seat | Device, *, header: bool = False, **hello: Any
    ) -> Device: ...


@pytest.fixture
async def dial() -> AsyncIterator[Dial]:
    devices: list[Device] = []

    async def dial(
        server: Server, who: Seat | Device, *, header: bool = False, **hello: Any
    ) -> Device:
        device = who if isinstance(who, Device) else Device(who.token)
        devices.append(device)
        network = await servers.dial(server.port, token=device.token if header else None)
        return await device.connect(network, **hello)

    yield dial
    for device in devices:
        await device.cut()
        assert device.violations == []


async def test_a_stranger_s_client_sends_and_receives(
    dial: Dial, server: Server, room: Room
) -> None:
    ann = await dial(server, room.first, header=True, token=None)
    bob = await dial(server, room.second)
    answer = await ann.write(room.id, "hello")
    await bob.reaches(room.id, answer["seq"])
    assert bob.bodies(room.id) == ["hello"]


async def test_bad_frames_get_typed_errors_and_the_session_goes_on(
    dial: Dial, server: Server, room: Room
) -> None:
    ann = await dial(server, room.first)
    for data, code in (("{", "bad_frame"), ('{"type":"what","ref":1}', "unknown_type")):
        place = len(ann.heard)
        await ann.say_raw(data)
        assert (await ann.hear("error", since=place))["code"] == code
    assert (await ann.ask(type="ping"))["type"] == "pong"


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("abuse", 1008),
        ("too large", 1009),
        ("in large parts", 1009),
        ("wrong token", 4500),
        ("revoked", 4501),
        ("silence", 4000),
    ],
)
async def test_the_close_code_says_why(
    dial: Dial,
    server: Server,
    room: Room,
    sql: Psql,  # noqa: F811
    how: str,
    code: int,
) -> None:
    if how == "wrong token":
        ann = await dial(server, Device("nobody's"))
    elif how == "silence":
        ann = await dial(server, room.first, hello=False)
    else:
        ann = await dial(server, room.first)
    if how == "abuse":
        for _ in range(200):
            await ann.say_raw("rubbish")
    elif how == "too large":
        await ann.say_raw("x" * 8 * MAX_FRAME_BYTES)
    elif how == "in large parts":
        assert isinstance(ann._socket, servers.Network)
        await ann._socket.send_in_parts(["x" * (MAX_FRAME_BYTES // 2)] * 5)
    elif how == "revoked":
        scene.revoke(sql, room.first.device)
    assert await ann.ended() == code
    assert ann.heard[-1]["type"] == "goodbye"
    assert ann.heard[-1]["reason"] == CloseCode(code).reason


async def test_a_client_whose_connection_is_cut_again_and_again_gets_everything_once(
    dial: Dial, server: Server, room: Room
) -> None:
    ann, bob = await dial(server, room.first), await dial(server, room.second)
    names = [f"m{n}" for n in range(400)]

    async def stream() -> None:
        for name in names:
            assert (await ann.write(room.id, name))["type"] == "ok"

    streaming = asyncio.create_task(stream())
    cuts = 0
    while not streaming.done():
        enough = bob.cursors.get(room.id, 0) + random.randint(1, 15)
        await scene.eventually(
            lambda enough=enough: bob.cursors.get(room.id, 0) >= enough or streaming.done()  # type: ignore[misc]
        )
        await bob.cut()
        cuts += 1
        await dial(server, bob)
    await streaming
    await bob.reaches(room.id, len(names) + 2)
    print(f"\n{cuts} cuts")
    assert bob.bodies(room.id) == names


async def delivered(dial: Dial, server: Server, who: Device, room: Room, names: list[str]) -> None:
    """Send each until it is acked, under the same key, on whatever connection there is."""
    for name in names:
        frame: Frame = {"type": "send", "conversation": room.id, "client_id": name, "body": name}
        while not any(f["type"] == "ok" and f.get("client_id") == name for f in who.heard):
            if who.closed is not None:
                await again(dial, server, who)
            place = len(who.heard)
            await who.say(frame)
            await scene.eventually(
                lambda place=place, name=name: (  # type: ignore[misc]
                    who.closed
                    or any(
                        f.get("client_id") == name and f["type"] == "ok" for f in who.heard[place:]
                    )
                )
            )


async def again(dial: Dial, server: Server, who: Device) -> None:
    """Connect again as soon as the server answers."""
    async with asyncio.timeout(START_S):
        while True:
            try:
                await dial(server, who)
            except (OSError, InvalidMessage):  # not there yet, or killed before it answered
                await asyncio.sleep(0.05)
            else:
                return


@pytest.mark.long
async def test_a_server_killed_in_mid_stream_loses_and_doubles_nothing(
    dial: Dial,
    own_server: Server,
    room: Room,
    sql: Psql,  # noqa: F811
) -> None:
    ann, bob = await dial(own_server, room.first), await dial(own_server, room.second)
    names = [f"m{n}" for n in range(300)]
    streaming = asyncio.create_task(delivered(dial, own_server, ann, room, names))
    for part in (60, 160):
        await bob.reaches(room.id, part)
        own_server.worker.send_signal(signal.SIGKILL)
        await bob.ended()
        await again(dial, own_server, bob)
    await streaming
    await bob.reaches(room.id, scene.last_seq(sql, room.id))
    assert scene.bodies(sql, room.id) == names
    assert bob.bodies(room.id) == names


@pytest.mark.parametrize(
    "own_server", ["uvicorn", pytest.param("daphne", marks=pytest.mark.long)], indirect=True
)
async def test_a_server_that_is_stopped_keeps_what_it_acked_and_says_goodbye(
    dial: Dial,
    own_server: Server,
    room: Room,
    sql: Psql,  # noqa: F811
) -> None:
    ann, bob = await dial(own_server, room.first), await dial(own_server, room.second)
    for n in range(0, 1_000, 100):
        frames = [
            {"type": "send", "conversation": room.id, "client_id": f"m{i}", "body": f"m{i}"}
            for i in range(n, n + 100)
        ]
        await ann.say(*frames)
    await bob.reaches(room.id, 10)
    own_server.process.send_signal(signal.SIGTERM)
    assert (await ann.ended(), await bob.ended()) == (1012, 1012)
    acked = [f["client_id"] for f in ann.heard if f["type"] == "ok"]
    stored = scene.bodies(sql, room.id)
    assert stored[: len(acked)] == acked
    refused = {f["code"] for f in ann.heard if f["type"] == "error"}
    assert refused <= {"shutting_down", "after_refused", "overloaded"}
    for device in (ann, bob):
        goodbye = device.heard[-1]
        assert (goodbye["type"], goodbye["reason"]) == ("goodbye", "restart")
        assert goodbye["reconnect_after"] > 0
