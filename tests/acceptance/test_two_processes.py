"""Two busy server processes and services of their own, some of which end: nothing acked is lost.

The clients are strangers (`tests.device`) over real sockets, and every message is asked of the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from messaging.hub.bus import conversation_group
from project import postgres, services, valkey
from project.home import Home
from tests import scene
from tests.acceptance.site import Serving, serving
from tests.device import Device
from tests.plugin import migrated
from tests.scene import Psql, Room
from tests.server import Network

pytestmark = pytest.mark.slow

TALKERS, WORDS = 6, 60
BACK_S = 10.0  # after a service of ours was killed, messages flow again within this


def psql(directory: Path) -> Psql:
    return psycopg.connect(services.locate(directory).database_url, autocommit=True)


class Talker:
    """A device that sends its words, each until it is acked, on whatever connection it gets."""

    def __init__(self, name: str, token: str, room: Room) -> None:
        self.device, self.room = Device(token), room
        self.words = [f"{name} {n}" for n in range(WORDS)]
        self.acked: list[str] = []
        self.ends: list[tuple[int | None, str]] = []  # each close code, and what was said last

    async def dial(self, port: int) -> None:
        """Connect, as soon as a server answers."""
        async with asyncio.timeout(scene.PATIENCE_S):
            while True:
                try:
                    socket = await connect(
                        f"ws://127.0.0.1:{port}/ws/",
                        subprotocols=["lockstep.v1.json"],  # type: ignore[list-item]
                    )
                except (OSError, WebSocketException):
                    await asyncio.sleep(0.05)
                    continue
                await self.device.connect(Network(socket))
                if self.device.closed is None:
                    return

    async def talk(self, port: int) -> None:
        """Send everything."""
        for word in self.words:
            while word not in self.acked:
                await self._try(word, port)

    async def _try(self, word: str, port: int) -> None:
        device = self.device
        if device.closed is not None:
            await self.again(port)
        place = len(device.heard)
        await device.say(
            {"type": "send", "conversation": self.room.id, "client_id": word, "body": word}
        )

        def answer() -> str | None:
            said = (f["type"] for f in device.heard[place:] if f.get("client_id") == word)
            return "closed" if device.closed is not None else next(said, None)

        if await scene.eventually(answer) == "ok" or _confirmed(device, word):
            self.acked.append(word)

    async def again(self, port: int) -> None:
        """Note how the connection ended, and get another one."""
        closed = self.device.closed
        assert closed is not None
        self.ends.append((closed.code, self.device.heard[-1]["type"]))
        await self.dial(port)


def _confirmed(device: Device, word: str) -> bool:
    return any(f["type"] == "ok" and f.get("client_id") == word for f in device.heard)


@pytest.fixture(scope="module")
def site() -> Iterator[Serving]:
    """One for the tests after which it runs on."""
    with migrated() as directory, serving(directory, processes=2) as it:
        yield it


@pytest.fixture
async def talkers() -> AsyncIterator[list[Talker]]:
    made: list[Talker] = []
    yield made
    for talker in made:
        await talker.device.cut()
        assert talker.device.violations == []


def seat(sql: Psql, talkers: list[Talker]) -> Room:
    """One room for all."""
    room = scene.new_room(sql, *(scene.new_seat(sql) for _ in range(TALKERS)))
    talkers += [Talker(f"t{n}", one.token, room) for n, one in enumerate(room.seats)]
    return room


def holders(sql: Psql) -> dict[str, int]:
    """The process that holds each device's session, by device."""
    rows = sql.execute(
        "SELECT c.device_id::text, n.name FROM presence_connection c JOIN presence_node n ON n.id = c.node_id"
    )
    return {device: int(name.rpartition(":")[2]) for device, name in rows}


def listeners(home: Home, room: Room) -> int:
    """How many processes hear the room's group on the bus."""
    group = f"asgi__group__{conversation_group(room.id)}"
    with redis.Redis.from_url(valkey.url(home)) as client:
        [(_, count)] = client.pubsub_numsub(group)
    return int(count)


async def everything_is_there(sql: Psql, room: Room, talkers: list[Talker]) -> None:
    """Every acked message is stored once, and every device was shown all of them in their order."""
    stored = scene.bodies(sql, room.id)
    assert sorted(stored) == sorted(word for talker in talkers for word in talker.words)
    for talker in talkers:
        await talker.device.reaches(room.id, scene.last_seq(sql, room.id))
        assert talker.device.bodies(room.id) == stored
        assert talker.acked == talker.words


async def test_one_of_two_busy_processes_ends_and_its_clients_go_on_elsewhere(
    site: Serving, talkers: list[Talker]
) -> None:
    with psql(site.directory) as sql:
        room = seat(sql, talkers)
        await asyncio.gather(*(talker.dial(site.port) for talker in talkers))
        held = holders(sql)
        victim = held[room.first.device]
        work = asyncio.gather(*(talker.talk(site.port) for talker in talkers))
        await talkers[0].device.reaches(room.id, TALKERS + 30)
        os.kill(victim, signal.SIGTERM)
        await work
        for place, talker in zip(room.seats, talkers, strict=True):
            ended = [(1012, "goodbye")] if held[place.device] == victim else []
            assert talker.ends == ended
        await everything_is_there(sql, room, talkers)


@pytest.mark.long
async def test_both_busy_processes_end_and_what_was_acked_is_there_when_they_come_back(
    directory: Path, talkers: list[Talker]
) -> None:
    with serving(directory, processes=2) as site:
        with psql(directory) as sql:
            room = seat(sql, talkers)
            await asyncio.gather(*(talker.dial(site.port) for talker in talkers))
            work = asyncio.gather(*(talker.talk(site.port) for talker in talkers))
            await talkers[0].device.reaches(room.id, TALKERS + 30)
        site.process.terminate()
        assert await asyncio.to_thread(site.process.wait, 30) == 0
        acked = [word for talker in talkers for word in talker.acked]
        assert len(acked) < TALKERS * WORDS  # they were cut off in the middle
    with contextlib.ExitStack() as stack:
        come_back = serving(directory, processes=2, port=site.port)
        await asyncio.to_thread(stack.enter_context, come_back)
        sql = stack.enter_context(psql(directory))
        assert set(acked) <= set(scene.bodies(sql, room.id))
        await work
        assert {end for talker in talkers for end in talker.ends} == {(1012, "goodbye")}
        await everything_is_there(sql, room, talkers)


@pytest.mark.parametrize("server", [valkey, postgres], ids=["Valkey", "PostgreSQL"])
async def test_a_service_of_ours_that_is_killed_is_started_again_and_messages_flow(
    site: Serving, talkers: list[Talker], server: object
) -> None:
    pid: Callable[[Home], int | None] = server.pid  # type: ignore[attr-defined]
    home = services.locate(site.directory).home
    with psql(site.directory) as sql:
        room = seat(sql, talkers)
    await asyncio.gather(*(talker.dial(site.port) for talker in talkers))
    work = asyncio.gather(*(talker.talk(site.port) for talker in talkers))
    await talkers[0].device.reaches(room.id, TALKERS + 30)
    dead, listening = pid(home), listeners(home, room)
    assert listening
    assert dead is not None
    os.kill(dead, signal.SIGKILL)
    began = time.monotonic()
    await scene.eventually(lambda: pid(home) not in (None, dead))
    known = len(talkers[0].acked)
    await scene.eventually(lambda: len(talkers[0].acked) > known or work.done())
    await scene.eventually(lambda: listeners(home, room) == listening)
    took = time.monotonic() - began
    await work
    print(f"\nmessages flow {took:.1f} s after the kill")
    assert took < BACK_S
    with psql(site.directory) as sql:
        await everything_is_there(sql, room, talkers)
