"""What happens is counted where an operator looks for it."""

import asyncio
from typing import Any

import pytest
from prometheus_client import REGISTRY

from messaging.engine import Engine
from messaging.protocol.errors import CloseCode
from messaging.protocol.frames import Send
from tests import scene
from tests.scene import Psql, Room

pytestmark = pytest.mark.django_db


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"lockstep_{name}", labels) or 0.0


class Rise:
    """By how much samples have grown since this was made."""

    def __init__(self, *names: str, **labels: str) -> None:
        self._names, self._labels = names, labels
        self._before = [value(name, **labels) for name in names]

    def __call__(self) -> list[float]:
        now = [value(name, **self._labels) for name in self._names]
        return [after - before for after, before in zip(now, self._before, strict=True)]


async def test_connections_hellos_and_ends_are_counted(
    engine: Engine, attach: Any, room: Room, sql: Psql
) -> None:
    here = Rise("connections", "sessions", "hello_seconds_count")
    ended = Rise("closes_total", reason=CloseCode.REVOKED.reason)
    gone = Rise("closes_total", reason="client")
    ann, bob = await attach(room.first), await attach(room.second)
    assert here() == [2, 2, 2]
    await bob.cut()
    scene.revoke(sql, room.first.device)
    await ann.ended()
    await scene.eventually(lambda: here() == [0, 0, 2], what=here)
    assert (ended(), gone()) == ([1], [1])


async def test_a_refusal_is_counted_by_its_code_wherever_it_comes_from(
    attach: Any, room: Room, client: Any
) -> None:
    socket = Rise("refusals_total", code="no_such_conversation", via="socket")
    rest = Rise("refusals_total", code="unauthorized", via="rest")
    ann = await attach(room.first)
    elsewhere = "00000000-0000-0000-0000-000000000000"
    await ann.say({"type": "send", "conversation": elsewhere, "client_id": "x", "body": "x"})
    await scene.eventually(lambda: socket() == [1], what=socket)
    assert (await asyncio.to_thread(client.get, "/api/devices")).status_code == 401
    assert rest() == [1]


async def test_a_group_commit_tells_its_size_and_how_long_its_first_writer_waited(
    engine: Engine, room: Room
) -> None:
    committed = Rise("batch_writes_count", "batch_writes_sum", "write_seconds_count")
    waited = Rise("write_seconds_sum")
    frames = [Send(conversation=room.id, client_id=f"m{n}", body="x") for n in range(20)]
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.gather(*(engine.journal.submit(room.first.device, one) for one in frames))
    took = loop.time() - began
    transactions, writes, waits = committed()
    assert writes == 20
    assert 1 <= transactions == waits < 20
    assert 0 < waited()[0] <= took * transactions


async def test_what_only_a_pass_finds_is_counted_as_a_repair(
    engine: Engine, attach: Any, room: Room, sql: Psql
) -> None:
    """As a change of which the notification was lost. The first may still be found by who reads for joining."""
    bob = await attach(room.second)
    found = Rise("repairs_total", found="pass")
    for _ in range(10):
        write_unheard(sql, room)
        await engine.hub.check([room.id])
        await bob.reaches(room.id, scene.last_seq(sql, room.id))
    assert found()[0] > 1


def write_unheard(sql: Psql, room: Room) -> None:
    """A change without triggers, so without a hint."""
    with sql.transaction():
        sql.execute("SET LOCAL session_replication_role = replica")
        sql.execute(
            "UPDATE messaging_conversation SET last_seq = last_seq + 1 WHERE id = %s", [room.id]
        )
        sql.execute(
            "INSERT INTO messaging_message (conversation_id, seq, position, body)"
            " SELECT id, last_seq, last_seq, 'unheard' FROM messaging_conversation WHERE id = %s",
            [room.id],
        )


async def test_the_gauges_show_what_waits_and_how_old_the_lease_is(
    engine: Engine, attach: Any, room: Room
) -> None:
    await attach(room.first)
    engine.gauges.read(late_s=0.25)
    assert value("loop_lag_seconds") == 0.25
    assert 0 < value("lease_age_seconds") < 6
    assert (value("users"), value("queued_writes"), value("commit_waiting_seconds")) == (1, 0, 0)
    assert value("bus_deaf") == engine.hub.bus.deaf
