"""The engine of a process: started once, drained cleanly, and steadfast while the database is away."""

import asyncio
from typing import Any

import psycopg
import pytest

from messaging import engine as engines
from messaging.engine import Engine
from messaging.protocol.errors import CloseCode, Refused
from messaging.protocol.frames import Send
from presence.roster import Roster
from project import postgres, services
from tests import scene
from tests.device import Device
from tests.peer import Peer
from tests.scene import Psql, Room

pytestmark = pytest.mark.django_db


def frame(room: Room, body: str) -> Send:
    return Send(conversation=room.id, client_id=body, body=body)


async def test_there_is_one_engine_per_loop_however_many_ask_first(engine: Engine) -> None:
    asked = await asyncio.gather(*(engines.running() for _ in range(10)))
    assert {id(each) for each in asked} == {id(engine)}


async def test_a_start_that_failed_is_tried_again(
    new_engine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(self: object) -> None:
        raise OSError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(Roster, "start", away)
        for _ in range(2):
            with pytest.raises(OSError, match="away"):
                await engines.running()
    assert (await engines.running()).roster.alive


async def test_a_drain_commits_acks_says_goodbye_and_gives_the_lease_back(
    engine: Engine, attach: Any, room: Room, sql: Psql
) -> None:
    ann, bob = await attach(room.first), await attach(room.second)
    frames = [
        {"type": "send", "conversation": room.id, "client_id": f"m{n}", "body": f"m{n}"}
        for n in range(200)
    ]
    await ann.say(*frames)
    await scene.eventually(lambda: scene.last_seq(sql, room.id) > 2)
    node = engine.roster.node
    await engines.drain(5.0)

    assert await ann.ended() == await bob.ended() == CloseCode.RESTART
    acked = {f["client_id"] for f in ann.heard if f["type"] == "ok" and "client_id" in f}
    assert acked == {f"m{n}" for n in range(200)}
    assert len(scene.bodies(sql, room.id)) == 200
    for device in (ann, bob):
        goodbye = device.heard[-1]
        assert (goodbye["type"], goodbye["reason"]) == ("goodbye", "restart")
        low, high = engines.RECONNECT_MS
        assert low <= goodbye["reconnect_after"] <= high
    assert not scene.count(sql, "presence_node", "id = %s", node)
    assert not scene.count(sql, "presence_connection", "device_id = %s", room.first.device)


@pytest.mark.slow
async def test_a_drained_engine_stays_and_refuses(
    engine: Engine, attach: Any, room: Room, sql: Psql
) -> None:
    await engines.drain(1.0)
    assert await engines.running() is engine
    with pytest.raises(Refused) as refused:
        await engine.journal.submit(room.first.device, frame(room, "late"))
    assert refused.value.refusal.code == "shutting_down"
    late = await attach(room.first)
    assert await late.ended() == CloseCode.RESTART
    assert scene.bodies(sql, room.id) == []


@pytest.mark.slow
async def test_a_drain_ends_in_time_although_a_client_does_not_read(
    engine: Engine, attach: Any, room: Room
) -> None:
    stuck: Device = await attach(room.first)
    stuck._socket.taking.clear()  # type: ignore[union-attr]
    loop = asyncio.get_running_loop()
    began = loop.time()
    await engines.drain(1.0)
    assert loop.time() - began < 6.0


async def test_a_session_that_opens_while_others_are_told_goodbye_is_told_so_too(
    engine: Engine, attach: Any, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, drains = engine.hub.door.standings, list[asyncio.Task[None]]()

    async def standings(**of: str) -> Any:
        drains.append(asyncio.create_task(engines.drain(5.0)))
        await scene.eventually(lambda: engine.draining)
        return await read(**of)

    monkeypatch.setattr(engine.hub.door, "standings", standings)
    ann = await attach(room.first)
    assert await ann.ended() == CloseCode.RESTART
    assert ann.heard[-1]["type"] == "goodbye"
    await asyncio.gather(*drains)


async def test_a_part_that_fails_to_stop_keeps_no_other_from_stopping(
    engine: Engine, attach: Any, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await attach(room.first)
    node, close = engine.roster.node, engine.hub.close

    async def fails(*_: object) -> None:
        await close()
        raise OSError("broken")

    monkeypatch.setattr(engine.hub, "close", fails)
    monkeypatch.setattr(engine.journal, "drain", fails)
    await engines.drain(5.0)
    assert await ann.ended() == CloseCode.RESTART
    assert not scene.count(sql, "presence_node", "id = %s", node)


async def test_a_drain_without_an_engine_returns_at_once(new_engine: None) -> None:
    await engines.drain()


# The database goes away


@pytest.mark.slow
async def test_a_stopped_database_is_told_within_seconds_and_its_return_needs_nobody(
    private: services.Services,
) -> None:
    with psycopg.connect(private.database_url, autocommit=True) as sql:
        room = scene.new_room(sql)

    def said(body: str) -> dict[str, Any]:
        return {"type": "send", "conversation": room.id, "client_id": body, "body": body}

    loop = asyncio.get_running_loop()
    with Peer(database_url=private.database_url, redis_url=private.redis_url) as peer:
        assert (await peer.write(room.first.device, **said("before")))[0] == "ok"
        postgres.stop(private.home)
        began = loop.time()
        verdict, _ = await peer.write(room.first.device, **said("during"))
        took = loop.time() - began
        print(f"\ntold that the database is away after {took:.1f} s")
        assert verdict == "database_unavailable"
        assert took < 8.0
        postgres.start(private.home)
        async with asyncio.timeout(10):
            while (await peer.write(room.first.device, **said("during")))[0] != "ok":
                pass
        assert (await peer.write(room.first.device, **said("after")))[0] == "ok"
    with psycopg.connect(private.database_url, autocommit=True) as sql:
        assert scene.bodies(sql, room.id) == ["before", "during", "after"]
