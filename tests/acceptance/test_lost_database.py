"""A database that freezes or dies under live sessions: they stay, are told so, and go on when it is back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from time import monotonic
from typing import Any

import psutil
import psycopg
import pytest

from messaging.protocol.errors import CloseCode
from project import postgres, services
from tests import scene, server
from tests.device import Device
from tests.frozen import cluster, frozen
from tests.scene import Room, Seat
from tests.server import Server

pytestmark = pytest.mark.long

TOLD_S = (
    15.0  # 10 s for a batch, 2 s for its cancellation, and the way; 5 s if it is refused at once
)
LAPSED_S = 8.0  # a lease of 6 s is over by then


@contextlib.contextmanager
def stopped(private: services.Services) -> Iterator[None]:
    """All of PostgreSQL is frozen: its kernel still takes packets, nobody answers."""
    with frozen(*cluster(_postmaster(private))):
        yield


@contextlib.contextmanager
def killed(private: services.Services) -> Iterator[None]:
    """All of PostgreSQL is dead; then it recovers."""
    dead = [psutil.Process(pid) for pid in cluster(_postmaster(private))]
    for process in dead:
        os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs(dead, timeout=10)
    try:
        yield
    finally:
        services.revive(private.home.directory)


def _postmaster(private: services.Services) -> int:
    number = postgres.pid(private.home)
    assert number is not None
    return number


@contextlib.asynccontextmanager
async def connected(to: Server, seat: Seat) -> AsyncIterator[Device]:
    device = await Device(seat.token).connect(await server.dial(to.port))
    yield device
    await device.cut()
    assert device.violations == []


@pytest.fixture
def room(private: services.Services) -> Room:
    with psycopg.connect(private.database_url, autocommit=True) as sql:
        return scene.new_room(sql)


@pytest.fixture
def serving(private: services.Services) -> Iterator[Server]:
    made = Server("uvicorn", {"DATABASE_URL": private.database_url, "REDIS_URL": private.redis_url})
    yield made
    made.stop()


@pytest.mark.parametrize("away", [stopped, killed])
async def test_without_a_database_sessions_stay_are_told_so_and_go_on(
    private: services.Services,
    room: Room,
    serving: Server,
    away: Callable[[services.Services], AbstractContextManager[None]],
) -> None:
    async with connected(serving, room.first) as ann, connected(serving, room.second) as bob:
        await bob.reaches(room.id, (await ann.write(room.id, "before"))["seq"])
        with away(private):
            until = monotonic() + LAPSED_S
            told = await refused_at_once(ann, room)
            late = await Device(room.first.token).connect(await server.dial(serving.port))
            assert await late.ended() == CloseCode.UNAVAILABLE
            while monotonic() < until:
                told += [await ann.write(room.id, "one")]
                await asyncio.sleep(0.05)
            told += [await ann.write(room.id, "one")]
            answers = [await device.ask(type="ping") for device in (ann, bob)]
            assert [answer["type"] for answer in answers] == ["pong"] * 2
        # Once it has been away for so long, most are refused without trying; one a second tries.
        assert {frame.get("code") for frame in told} == {"database_unavailable", "unavailable"}
        assert all(frame["retry_after"] > 0 for frame in told)
        for body in ("one", "two", "after"):
            while (await ann.write(room.id, body))["type"] != "ok":
                pass
        with psycopg.connect(private.database_url, autocommit=True) as sql:
            await bob.reaches(room.id, scene.last_seq(sql, room.id))
            assert scene.bodies(sql, room.id) == ["before", "one", "two", "after"]
        assert bob.bodies(room.id) == ["before", "one", "two", "after"]
        assert (ann.closed, bob.closed) == (None, None)


async def refused_at_once(ann: Device, room: Room) -> list[Any]:
    """The answers to writes without a database: the first in its time, what would come after it, and more of the first."""
    began = monotonic()
    first = await ann.write(room.id, "one")
    waited = monotonic() - began
    assert waited < TOLD_S
    assert first["code"] == "database_unavailable"
    assert (await ann.write(room.id, "two"))["code"] == "after_refused"
    began = monotonic()
    more = [await ann.write(room.id, "one") for _ in range(5)]
    quickly = monotonic() - began
    print(f"\ntold after {waited:.1f} s; five more were refused within {quickly:.2f} s")
    return [first, *more]
