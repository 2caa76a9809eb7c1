"""Presence of real processes that die or stand still, as every other device is shown it (guarantee G7).

The clients are strangers (`tests.device`) over real sockets to two server processes with services of their own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from itertools import groupby
from pathlib import Path

import psycopg
import pytest

from project import services
from tests import scene, server
from tests.acceptance.site import Serving, serving
from tests.device import Device, Frame
from tests.scene import Psql, Room, Seat

pytestmark = pytest.mark.long

PEOPLE = 12
BOUND_S = 10.0  # a killed process's devices are gone on every screen within it
LEASE_S = 6.0
AGAIN_S = 10.0  # for clients to come back, on a busy machine


class Screen(Device):
    """A device that keeps what it was shown of others, and when."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat.token)
        self.seat = seat
        self.shown: list[tuple[float, str, str]] = []  # when, whom, how

    def _take(self, frame: Frame) -> None:
        super()._take(frame)
        if frame["type"] == "presence":
            now = time.monotonic()
            self.shown += [(now, one["user"], one["state"]) for one in frame.get("users", [])]

    def state(self, user: str) -> str:
        """How the user was shown last."""
        return next((how for _, whom, how in reversed(self.shown) if whom == user), "unknown")

    def course(self, moment: float, user: str) -> list[str]:
        """How the user, who was online, was shown from then on; a repeat is no news."""
        shown = [how for when, whom, how in self.shown if whom == user and when > moment]
        return [how for how, _ in groupby(["online", *shown])]


@pytest.fixture
async def screens() -> AsyncIterator[list[Screen]]:
    made: list[Screen] = []
    yield made
    for screen in made:
        await screen.cut()
        assert screen.violations == []


def psql(directory: Path) -> Psql:
    return psycopg.connect(services.locate(directory).database_url, autocommit=True)


def holders(sql: Psql) -> dict[str, int]:
    """The process that holds each device's session, by device."""
    rows = sql.execute(
        "SELECT c.device_id::text, n.name FROM presence_connection c JOIN presence_node n ON n.id = c.node_id"
        " WHERE n.lease > now()"
    )
    return {device: int(name.rpartition(":")[2]) for device, name in rows}


async def everybody_is_online(screens: list[Screen]) -> None:
    users = [screen.seat.user for screen in screens]

    def wrong() -> list[tuple[str, str]]:
        return [
            (user, screen.state(user))
            for screen in screens
            for user in users
            if screen.state(user) != "online"
        ]

    await scene.eventually(lambda: not wrong(), what=wrong)


async def gather(site: Serving, sql: Psql, screens: list[Screen]) -> tuple[Room, int]:
    """Have everybody connected and shown to each other; returns the process that is to suffer."""
    room = scene.new_room(sql, *(scene.new_seat(sql) for _ in range(PEOPLE)))
    screens += [Screen(seat) for seat in room.seats]
    await asyncio.gather(*(connect(screen, site) for screen in screens))
    while len(set(holders(sql).values())) < 2:  # the kernel gave all of them to one process
        await screens[-1].cut()
        await connect(screens[-1], site)
    await everybody_is_online(screens)
    await asyncio.gather(*(screen.reaches(room.id, PEOPLE) for screen in screens))
    return room, holders(sql)[screens[-1].seat.device]


async def connect(screen: Screen, site: Serving) -> None:
    async with asyncio.timeout(scene.PATIENCE_S):
        await screen.connect(await server.dial(site.port))


def parted(sql: Psql, screens: list[Screen], victim: int) -> tuple[list[Screen], list[Screen]]:
    """Those whose process suffers, and the others."""
    held = holders(sql)
    hit = [screen for screen in screens if held[screen.seat.device] == victim]
    return hit, [screen for screen in screens if screen not in hit]


async def all_gone(watchers: list[Screen], gone: list[Screen]) -> None:
    """Until every watcher was shown that they are offline."""
    users = [screen.seat.user for screen in gone]
    await scene.eventually(
        lambda: all(w.state(user) == "offline" for w in watchers for user in users),
        what=lambda: [[w.state(user) for user in users] for w in watchers],
    )


async def test_devices_of_a_killed_process_are_gone_on_every_screen_and_the_others_untouched(
    directory: Path, screens: list[Screen]
) -> None:
    with serving(directory, processes=2) as site, psql(directory) as sql:
        _, victim = await gather(site, sql, screens)
        gone, stay = parted(sql, screens, victim)
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        await all_gone(stay, gone)
        took = time.monotonic() - began
        print(f"\n{len(gone)} of {PEOPLE} were gone on every screen after {took:.2f} s")
        assert took < BOUND_S
        left = "SELECT count(*) FROM presence_connection"
        await scene.eventually(lambda: scene.one(sql, left) == len(stay))  # they are cleared away
        for screen in stay:
            assert screen.closed is None
            for other in stay:
                assert screen.course(began, other.seat.user) == ["online"]
            for other in gone:  # the process that was started in its place raises nobody
                assert screen.course(began, other.seat.user) == ["online", "offline"]
        seen = "SELECT count(*) FROM presence_device WHERE last_seen IS NOT NULL AND id = ANY (%s::uuid[])"
        assert scene.one(sql, seen, [screen.seat.device for screen in gone]) == len(gone)


@pytest.mark.parametrize("stopped_s", [LEASE_S + 2.5, 2 * LEASE_S + 4], ids=["dead", "buried"])
async def test_a_process_that_stood_still_sends_its_devices_away_and_they_resume(
    directory: Path, screens: list[Screen], stopped_s: float
) -> None:
    """Taken for dead by the others, and in the longer case cleared away."""
    with serving(directory, processes=2) as site, psql(directory) as sql:
        room, victim = await gather(site, sql, screens)
        away, stay = parted(sql, screens, victim)
        began = time.monotonic()
        os.kill(victim, signal.SIGSTOP)
        try:
            written = await stay[0].write(room.id, "said meanwhile")
            await all_gone(stay, away)
            took = time.monotonic() - began
            assert took < BOUND_S
            heard = [len(screen.heard) for screen in away]  # with what was still under way
            await asyncio.sleep(stopped_s - took)
        finally:
            os.kill(victim, signal.SIGCONT)
        woken = time.monotonic()
        assert [await screen.ended() for screen in away] == [4005] * len(away)
        for screen, place in zip(away, heard, strict=True):
            said = screen.heard[place:]
            assert [frame["type"] for frame in said] == ["goodbye"]  # nothing before it
            assert said[0]["reason"] == "paused"
        await asyncio.gather(*(connect(screen, site) for screen in away))
        await asyncio.gather(*(s.reaches(room.id, written["seq"]) for s in away))
        await everybody_is_online(screens)
        print(f"\nback after {time.monotonic() - woken:.2f} s, gone after {took:.2f} s")
        assert time.monotonic() - woken < AGAIN_S
        for screen in stay:
            assert screen.closed is None
            for other in stay:
                assert screen.course(began, other.seat.user) == ["online"]
            for other in away:  # no ghost in between
                assert screen.course(began, other.seat.user) == ["online", "offline", "online"]
        assert sorted(holders(sql)) == sorted(screen.seat.device for screen in screens)
