"""A frozen database: nothing hangs for ever, nothing is lost or doubled when it wakes up."""

import asyncio
import contextlib
from collections.abc import Iterator
from time import monotonic
from typing import Any

import psycopg
import pytest

from messaging.hub import feed as feeds
from messaging.hub.feed import FeedReader
from messaging.journal import receipts as marks
from messaging.journal import writer
from messaging.journal.journal import Journal
from messaging.journal.receipts import Receipts
from messaging.protocol.frames import Mark, Send
from presence import database
from presence.breaker import PATIENCE_S
from project import postgres, services
from tests import scene
from tests.frozen import backends, cluster, frozen
from tests.peer import Peer
from tests.scene import Psql, Room

pytestmark = pytest.mark.django_db


Connection = psycopg.AsyncConnection[Any]


@contextlib.contextmanager
def impatience() -> Iterator[None]:
    """Give up after 0.3 s instead of 12: only what is frozen, since a busy machine may take as long."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (writer, marks, feeds):
            patch.setattr(module, "STATEMENT_TIMEOUT_MS", 200)
        patch.setattr(database, "ANSWER_S", 0.1)
        yield


async def given_up(connection: Connection | None) -> None:
    """Wait until nobody waits for this connection any more."""
    assert connection is not None
    await scene.eventually(lambda: connection.closed)


def send(room: Room, key: str) -> Send:
    return Send(conversation=room.id, client_id=key, body=key)


async def test_a_batch_that_met_a_frozen_connection_is_committed_once(
    shared_database: None, room: Room, sql: Psql
) -> None:
    journal = Journal()
    journal.start()
    try:
        await journal.submit(room.first.device, send(room, "before"))
        with frozen(*backends(sql, "lockstep journal")):
            with impatience():
                asked = asyncio.gather(
                    *(journal.submit(room.first.device, send(room, f"m{n}")) for n in range(5))
                )
                await given_up(journal._writer._connection)
            stored = await asked
        await scene.eventually(lambda: connected(sql, "lockstep journal") == 1)  # it woke up, too
    finally:
        await journal.close()
    assert [s.seq for s in stored] == [4, 5, 6, 7, 8]
    assert scene.bodies(sql, room.id) == ["before", *(f"m{n}" for n in range(5))]


def connected(sql: Psql, application: str) -> int:
    return scene.count(
        sql,
        "pg_stat_activity",
        "datname = current_database() AND application_name = %s",
        application,
    )


async def test_marks_that_met_a_frozen_connection_are_stored(
    shared_database: None, room: Room, sql: Psql
) -> None:
    receipts = Receipts()
    receipts.start()
    try:
        receipts.put(room.first.device, [Mark(conversation=room.id, delivered=1)])
        await receipts.drain()
        with frozen(*backends(sql, "lockstep receipts")):
            with impatience():
                receipts.put(room.first.device, [Mark(conversation=room.id, delivered=2)])
                await given_up(receipts._connection)
            await receipts.drain()
    finally:
        await receipts.close()
    assert scene.count(
        sql, "messaging_receipt", "device_id = %s AND delivered = 2", room.first.device
    )


async def test_a_frozen_read_stops_the_others_in_bounded_time_only(
    shared_database: None, room: Room, sql: Psql
) -> None:
    """What is read next is answered while the other one is frozen still."""
    feed = FeedReader()
    await feed.epoch()
    with frozen(*backends(sql, "lockstep feed")):
        with (
            impatience(),
            pytest.raises(psycopg.OperationalError, match=r"no answer within 0\.3 s"),
        ):
            await feed.page(room.id, 0)
        page = await feed.page(room.id, 0)
    assert page is not None
    assert page.upto == 2
    await feed.close()


@pytest.mark.long
async def test_a_frozen_database_is_told_in_bounded_time_and_its_return_needs_nobody(
    private: services.Services,
) -> None:
    """Every process of the server is stopped: new connections get no answer either."""
    with psycopg.connect(private.database_url, autocommit=True) as sql:
        room = scene.new_room(sql)

        def said(body: str) -> dict[str, Any]:
            return {"type": "send", "conversation": room.id, "client_id": body, "body": body}

        with Peer(database_url=private.database_url, redis_url=private.redis_url) as peer:
            assert (await peer.write(room.first.device, **said("before")))[0] == "ok"
            node = scene.one(sql, "SELECT id FROM presence_node")
            postmaster = postgres.pid(private.home)
            assert postmaster is not None
            with frozen(*cluster(postmaster)):
                began = monotonic()
                verdicts = [(await peer.write(room.first.device, **said("one")))[0]]
                first = monotonic() - began
                verdicts += [(await peer.write(room.first.device, **said("two")))[0]]
                second = monotonic() - began - first
            print(f"\ntold after {first:.1f} s, the next after {second:.1f} s")
            assert verdicts == ["database_unavailable"] * 2
            assert first < writer.STATEMENT_TIMEOUT_MS / 1000 + database.ANSWER_S + 2.0
            assert second < database.CONNECT_TIMEOUT_S + 2.0
            async with asyncio.timeout(PATIENCE_S):
                for body in ("one", "two", "after"):
                    while (await peer.write(room.first.device, **said(body)))[0] != "ok":
                        pass
            alive = "SELECT count(*) FROM presence_node WHERE lease > now() AND id = %s"
            await scene.eventually(lambda: scene.one(sql, alive, node) == 1)
        assert scene.bodies(sql, room.id) == ["before", "one", "two", "after"]
        assert scene.last_seq(sql, room.id) == 6
        assert scene.count(sql, "presence_node") == 0
