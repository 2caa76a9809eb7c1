"""Reads of the change feed: one snapshot per page, one statement per turn, and the wire's own form."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import msgspec
import pytest

from messaging import signals
from messaging.engine import Engine
from messaging.hub.feed import FeedReader
from messaging.protocol.frames import Delete, Edit, Message, Send
from messaging.protocol.server.batch import Batch, Fence
from tests import scene
from tests.scene import Psql, Room

pytestmark = pytest.mark.django_db

APPLICATION = "lockstep tested feed"  # the engine reads, too
ROWS = """
SELECT m.id::text, seq, position, kind, body, version, created, device_id::text, user_id::text,
       client_id, reply_to_id::text, edited, deleted
  FROM messaging_message m LEFT JOIN presence_device d ON d.id = m.device_id
 WHERE conversation_id = %s ORDER BY seq
"""
NAMES = (
    *("id", "seq", "position", "kind", "body", "version", "created", "device", "user"),
    *("client_id", "reply_to", "edited", "deleted"),
)


@pytest.fixture
async def feed(shared_database: None) -> AsyncIterator[FeedReader]:
    made = FeedReader(APPLICATION)
    yield made
    await made.close()


def stored(sql: Psql, room: str) -> list[Message]:
    """The messages as the table has them."""
    found = []
    for row in sql.execute(ROWS, [room]):
        values = {name: _plain(value) for name, value in zip(NAMES, row, strict=True)}
        found.append(Message(**{k: v for k, v in values.items() if v is not None}))
    return found


def _plain(value: Any) -> Any:
    return int(value.timestamp() * 1000 + 0.5) if isinstance(value, datetime) else value


async def page(feed: FeedReader, room: str, since: int = 0, limit: int = 500) -> Batch:
    return (await feed.pages([(room, since)], limit=limit))[room, since]


async def test_a_page_shows_every_kind_of_message_as_the_wire_does(
    engine: Engine, room: Room, sql: Psql
) -> None:
    device, announced = room.first.device, list[Message]()

    def receive(batches: list[Batch], **_: Any) -> None:
        announced.extend(message for batch in batches for message in batch.messages)

    texts = [
        "",
        'quo"te \\ and / \b\f\n\r\t',
        "ünïcödé \u2028 \U0001f600",
        "<script>",
        "\x01\x1f\x7f",
    ]
    signals.messages_committed.connect(receive)
    ids: list[str] = []
    for n, text in enumerate(texts):
        frame = Send(
            conversation=room.id, client_id=f"k{n}", body=text, reply_to=ids[-1] if ids else None
        )
        ids.append((await engine.journal.submit(device, frame)).message)
    data = Send(conversation=room.id, client_id='"', kind="data", body='{"a": [1, null]}')
    await engine.journal.submit(device, data)
    edit = Edit(message=ids[1], base_version=1, client_id="e", body="better")
    await engine.journal.submit(device, edit)
    await engine.journal.submit(device, Delete(message=ids[2], base_version=1, client_id="d"))
    signals.messages_committed.disconnect(receive)
    scene.insert(sql, room.id, "from psql")
    sql.execute("UPDATE messaging_conversation SET title = 'T\"itle' WHERE id = %s", [room.id])

    batch = await page(engine.hub.feed, room.id)
    shown = msgspec.json.decode(batch.json, type=list[Message])
    assert shown == stored(sql, room.id)
    assert batch.count == len(shown) == 10
    newest = {message.id: message for message in announced}
    ours = [message for message in shown if message.device is not None]
    assert [_rounded(newest[m.id]) for m in ours] == [_rounded(m) for m in ours]
    known = set(Message.__struct_fields__)
    assert all(set(raw) <= known for raw in msgspec.json.decode(batch.json))


def _rounded(message: Message) -> Message:
    """Both forms cut microseconds their own way: to within a millisecond."""
    return msgspec.structs.replace(message, created=message.created // 10)


async def test_a_page_reaches_to_its_last_row_if_cut_and_else_to_the_end(
    feed: FeedReader, room: Room, sql: Psql
) -> None:
    first = scene.insert(sql, room.id, "one")
    scene.insert(sql, room.id, "two")
    sql.execute("UPDATE messaging_message SET body = 'one!' WHERE id = %s", [first])
    # Numbers now: 1 and 2 joined, 3 superseded, 4 two, 5 one!
    cut = await page(feed, room.id, 0, limit=3)
    assert (cut.since, cut.upto, cut.count) == (0, 4, 3)
    rest = await page(feed, room.id, 4, limit=3)
    assert (rest.since, rest.upto, rest.count, rest.oldest) == (4, 5, 1, 3)
    hole = await page(feed, room.id, 2, limit=3)
    assert (hole.upto, [m.seq for m in hole.messages]) == (5, [4, 5])
    beyond = await page(feed, room.id, 9)
    assert (beyond.since, beyond.upto, beyond.count) == (9, 9, 0)


async def test_a_page_names_the_stays_that_end_in_it(
    feed: FeedReader, room: Room, sql: Psql
) -> None:
    fence = scene.leave(sql, room.id, room.second.user)
    batch = await page(feed, room.id)
    assert batch.fences == (Fence(room.second.user, fence),)
    assert (await page(feed, room.id, fence)).fences == ()


def counted(feed: FeedReader) -> list[Any]:
    """The parameters of every statement from now on."""
    fetched: list[Any] = []
    fetch = feed._fetch

    async def counting(statement: Any, parameters: Any) -> list[tuple[Any, ...]]:
        fetched.append(parameters)
        return await fetch(statement, parameters)

    feed._fetch = counting  # type: ignore[method-assign]
    return fetched


async def test_pages_asked_for_in_one_turn_are_one_statement(
    feed: FeedReader, room: Room, sql: Psql
) -> None:
    rooms = [scene.new_room(sql, *room.seats) for _ in range(10)]
    fetched = counted(feed)
    nowhere = room.first.user
    asked = [feed.page(r.id, 0) for r in rooms] + [feed.page(rooms[0].id, 0), feed.page(nowhere, 0)]
    *pages, none = await asyncio.gather(*asked)
    assert len(fetched) == 1
    assert none is None
    assert [p.conversation for p in pages if p] == [*(r.id for r in rooms), rooms[0].id]


async def test_pages_asked_for_while_one_is_read_are_one_statement(
    feed: FeedReader, room: Room, sql: Psql
) -> None:
    rooms = [scene.new_room(sql, *room.seats) for _ in range(10)]
    fetched, asked = counted(feed), list[asyncio.Task[Batch | None]]()
    for one in rooms:
        asked.append(asyncio.create_task(feed.page(one.id, 0)))
        for _ in range(3):  # it is under way
            await asyncio.sleep(0)
    pages = await asyncio.gather(*asked)
    assert len(fetched) == 2
    assert [p.conversation for p in pages if p] == [r.id for r in rooms]


@pytest.mark.parametrize(("length", "read"), [(10, 1), (40_000, 2)])
async def test_devices_that_lack_nearly_the_same_get_one_page_if_it_reaches_them(
    feed: FeedReader, room: Room, sql: Psql, length: int, read: int
) -> None:
    sql.execute(
        "INSERT INTO messaging_message (conversation_id, body)"
        " SELECT %s, repeat('x', %s) FROM generate_series(1, 20) n",
        [room.id, length],
    )
    fetched = counted(feed)
    pages = await asyncio.gather(*(feed.page(room.id, since) for since in range(20)))
    assert len(fetched) == read
    assert len(fetched[0][0]) == 1
    for since, found in enumerate(pages):
        assert found is not None
        assert found.since <= since < found.upto


@pytest.mark.parametrize(
    ("how", "why"),
    [("created = 'infinity'", "infinity"), ("body = repeat('[', 60000)", "stack depth")],
    ids=["data error", "operational error"],
)
async def test_a_conversation_that_cannot_be_read_keeps_no_other_from_its_pages(
    feed: FeedReader, room: Room, sql: Psql, caplog: pytest.LogCaptureFixture, how: str, why: str
) -> None:
    """psycopg calls it operational, as a lost connection is, if a row passes a limit, or its disk has a bad sector."""
    damaged = scene.new_room(sql, *room.seats)
    with sql.transaction():
        sql.execute("SET LOCAL lockstep.writer = 'journal'")
        statement = f"UPDATE messaging_message SET {how} WHERE conversation_id = %s"
        sql.execute(statement.encode(), [damaged.id])
    for _ in range(2):
        good, bad = await asyncio.gather(feed.page(room.id, 0), feed.page(damaged.id, 0))
        assert good is not None
        assert (good.conversation, good.upto, bad) == (room.id, 2, None)
    [told] = [record.getMessage() for record in caplog.records if damaged.id in record.getMessage()]
    assert why in told


async def test_the_reader_comes_back_after_its_connection_is_lost(
    feed: FeedReader, room: Room, sql: Psql
) -> None:
    await page(feed, room.id)
    killed = scene.one(
        sql,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name = %s AND datname = current_database()",
        APPLICATION,
    )
    assert killed == 1
    with pytest.raises(Exception, match=r"terminat|closed|lost"):
        await page(feed, room.id)
    assert (await page(feed, room.id)).upto == 2


async def test_a_closed_reader_opens_no_connection_again(
    shared_database: None, room: Room, sql: Psql
) -> None:
    """Whenever it is closed: before, while and after it connects."""
    open_ones = "application_name = %s AND datname = current_database()"
    for turns in range(0, 40, 4):
        reader = FeedReader(APPLICATION)
        asked = asyncio.ensure_future(reader.page(room.id, 0))
        for _ in range(turns):
            await asyncio.sleep(0)
        await reader.close()
        await asyncio.wait({asked})
        asked.exception()
        await scene.eventually(
            lambda: not scene.count(sql, "pg_stat_activity", open_ones, APPLICATION)
        )


async def test_standings_tell_the_newest_stay_and_the_stored_marks(
    feed: FeedReader, room: Room, sql: Psql
) -> None:
    seat = room.second
    fence = scene.leave(sql, room.id, seat.user)
    (ended,) = await feed.standings(device=seat.device, user=seat.user)
    assert (ended.joined_seq, ended.left_seq, ended.last_seq) == (2, fence, fence)
    scene.join(sql, room.id, seat.user)
    sql.execute(
        "INSERT INTO messaging_receipt (device_id, conversation_id, delivered) VALUES (%s, %s, 3)",
        [seat.device, room.id],
    )
    (again,) = await feed.standings(device=seat.device, user=seat.user)
    assert (again.joined_seq, again.left_seq, again.delivered, again.read) == (4, None, 3, 0)
