"""The channel layer between two server processes, broken: it carries hints, it loses no message."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from messaging.engine import Engine
from tests import scene
from tests.integration.messaging.crossing import hears, peer_sends, streamed
from tests.outage import partitioned_from_valkey, without_valkey
from tests.peer import Peer
from tests.plugin import GIVEN
from tests.scene import Psql, Room

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

WATCHED_S = 5.0 + 0.5  # G6: a silent loss is found by the next full pass


async def test_a_flushed_server_loses_nothing(
    engine: Engine, attach: Any, room: Room, peer: Peer, valkey: Redis
) -> None:
    bob = await attach(room.second)
    await hears(engine)
    names = [f"m{n}" for n in range(20)]
    for name in names:
        valkey.flushall()
        await peer_sends(peer, room, name)
    await bob.reaches(room.id, 22)
    assert bob.bodies(room.id) == names


async def test_killed_subscriptions_lose_nothing_and_are_repaired_within_five_seconds(
    engine: Engine, attach: Any, room: Room, peer: Peer, valkey: Any
) -> None:
    bob = await attach(room.second)
    await hears(engine)
    loop, worst = asyncio.get_running_loop(), 0.0
    for n in range(3):
        valkey.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await peer_sends(peer, room, f"m{n}")  # nobody is there to hear of the last one
        began = loop.time()
        await bob.reaches(room.id, 3 + n)
        worst = max(worst, loop.time() - began)
    print(f"\nrepaired within {worst:.2f} s of a silent loss")
    assert worst < WATCHED_S
    assert bob.bodies(room.id) == ["m0", "m1", "m2"]


@pytest.mark.skipif(bool(GIVEN["REDIS_URL"]), reason="it kills the server: only one of our own")
async def test_without_the_bus_changes_come_from_the_database_and_its_return_is_noticed(
    engine: Engine, attach: Any, room: Room, peer: Peer, services_directory: Path, sql: Psql
) -> None:
    bob = await attach(room.second)
    await hears(engine)
    with without_valkey(services_directory):
        first = await streamed(peer, room, bob, ["unnoticed"])
        await scene.eventually(lambda: engine.hub.bus.deaf)
        took = sorted(await streamed(peer, room, bob, [f"deaf{n}" for n in range(20)]))
        ours = await bob.write(room.id, "ours")
        await bob.reaches(room.id, ours["seq"])
    print(
        f"\nwithout the bus: first {first[0]:.2f} s, then median {took[10] * 1e3:.0f} ms, "
        f"max {took[-1] * 1e3:.0f} ms"
    )
    assert first[0] < WATCHED_S
    assert took[10] < 0.5  # the worst tells how busy the machine was
    assert took[-1] < WATCHED_S
    await hears(engine)
    again = await streamed(peer, room, bob, [f"again{n}" for n in range(10)])
    assert sorted(again)[5] < 0.2
    assert bob.bodies(room.id) == scene.bodies(sql, room.id)


@pytest.mark.skipif(bool(GIVEN["REDIS_URL"]), reason="it freezes the server: only one of our own")
async def test_a_reconciler_at_rest_is_woken_when_the_bus_becomes_deaf(
    engine: Engine, attach: Any, room: Room, peer: Peer, services_directory: Path
) -> None:
    """Whatever was said before is found then, not at the end of the rest of 5 s."""
    bob = await attach(room.second)
    await hears(engine)
    engine.hub.check_all.set()  # now it passes, and then begins the longest rest
    await scene.eventually(lambda: not engine.hub.check_all.is_set())
    with partitioned_from_valkey(services_directory):
        await scene.eventually(lambda: engine.hub.bus.deaf)
        [took] = await streamed(peer, room, bob, ["m1"])
    assert took < 1.0


@pytest.mark.skipif(bool(GIVEN["REDIS_URL"]), reason="it kills the server: only one of our own")
async def test_a_server_killed_again_and_again_under_load_loses_nothing(
    engine: Engine, attach: Any, room: Room, peer: Peer, services_directory: Path, sql: Psql
) -> None:
    bob = await attach(room.second)
    await hears(engine)
    total = 600
    for n in range(total):
        name = f"m{n}"
        frame = {"type": "send", "conversation": room.id, "client_id": name, "body": name}
        peer.put(room.first.device, frame)
        if n % 200 == 100:
            with without_valkey(services_directory):
                await peer.answer()
        else:
            await peer.answer()
    await bob.reaches(room.id, total + 2)
    assert bob.bodies(room.id) == [f"m{n}" for n in range(total)]


@pytest.mark.skipif(bool(GIVEN["REDIS_URL"]), reason="it freezes the server: only one of our own")
async def test_connections_that_come_and_go_during_a_partition_leave_no_calls_behind(
    engine: Engine, attach: Any, room: Room, peer: Peer, services_directory: Path, sql: Psql
) -> None:
    bob = await attach(room.second)
    await hears(engine)
    with partitioned_from_valkey(services_directory):
        for _ in range(40):
            guest = await attach(scene.new_room(sql).first)
            await guest.cut()
            for _ in range(3):
                await attach(guest)
                await guest.cut()
        await scene.eventually(lambda: engine.hub.bus.deaf)
        assert len(engine.hub.bus._due) < 5
        await streamed(peer, room, bob, ["meanwhile"])
        cas = await attach(scene.new_room(sql).first)
    await hears(engine)
    took = await streamed(peer, room, bob, [f"again{n}" for n in range(10)])
    assert sorted(took)[5] < 0.2
    assert bob.bodies(room.id) == ["meanwhile", *(f"again{n}" for n in range(10))]
    assert cas.welcome is not None
