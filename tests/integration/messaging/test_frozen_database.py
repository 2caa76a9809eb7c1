"""A frozen database: nothing hangs for ever, nothing is lost or doubled when it wakes up."""

import asyncio
from time import monotonic
from typing import Any

import psycopg
import pytest

from messaging.hub import feed as feeds
from messaging.hub.feed import FeedReader
from messaging.journal import receipts as marks
from messaging.journal import writer
from messaging.journal.journal import OUTAGE_S, Journal
from messaging.journal.receipts import Receipts
from messaging.protocol.frames import Mark, Send
from presence import database
from project import postgres, services
from tests import scene
from tests.frozen import backends, cluster, frozen
from tests.peer import Peer
from tests.scene import Psql, Room

pytestmark = pytest.mark.django_db


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up after 0.3 s instead of 12."""
    for module in (writer, marks, feeds):
        monkeypatch.setattr(module, "STATEMENT_TIMEOUT_MS", 200)
    monkeypatch.setattr(database, "ANSWER_S", 0.1)


@pytest.fixture
def room(sql: Psql) -> Room:
    return scene.new_room(sql)


def send(room: Room, key: str) -> Send:
    return Send(conversation=room.id, client_id=key, body=key)


async def test_a_batch_that_met_a_frozen_connection_is_committed_once(
    impatient: None, shared_database: None, room: Room, sql: Psql
) -> None:
    journal = Journal()
    journal.start()
    await journal.submit(room.first.device, send(room, "before"))
    with frozen(*backends(sql, "lockstep journal")):
        asked = [journal.submit(room.first.device, send(room, f"m{n}")) for n in range(5)]
        stored = await asyncio.gather(*asked)
    await scene.eventually(lambda: len(backends(sql, "lockstep journal")) == 1)  # it woke up, too
    await journal.close()
    assert [s.seq for s in stored] == [4, 5, 6, 7, 8]
    assert scene.bodies(sql, room.id) == ["before", *(f"m{n}" for n in range(5))]


async def test_marks_that_met_a_frozen_connection_are_stored(
    impatient: None, shared_database: None, room: Room, sql: Psql
) -> None:
    receipts = Receipts()
    receipts.start()
    receipts.put(room.first.device, [Mark(conversation=room.id, delivered=1)])
    await receipts.drain()
    with frozen(*backends(sql, "lockstep receipts")):
        receipts.put(room.first.device, [Mark(conversation=room.id, delivered=2)])
        await receipts.drain()
    await receipts.close()
    assert scene.count(
        sql, "messaging_receipt", "device_id = %s AND delivered = 2", room.first.device
    )


async def test_a_frozen_read_stops_the_others_in_bounded_time_only(
    shared_database: None, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read next is answered while the other one is frozen still."""
    feed = FeedReader()
    await feed.epoch()
    with frozen(*backends(sql, "lockstep feed")):
        with monkeypatch.context() as impatient:
            impatient.setattr(feeds, "STATEMENT_TIMEOUT_MS", 200)
            impatient.setattr(database, "ANSWER_S", 0.1)
            with pytest.raises(psycopg.OperationalError, match=r"no answer within 0\.3 s"):
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
            async with asyncio.timeout(OUTAGE_S):
                for body in ("one", "two", "after"):
                    while (await peer.write(room.first.device, **said(body)))[0] != "ok":
                        pass
            alive = "SELECT count(*) FROM presence_node WHERE lease > now() AND id = %s"
            await scene.eventually(lambda: scene.one(sql, alive, node) == 1)
        assert scene.bodies(sql, room.id) == ["before", "one", "two", "after"]
        assert scene.last_seq(sql, room.id) == 6
        assert scene.count(sql, "presence_node") == 0
