"""What the rig reads when all is over: every row that matters, once, from one moment."""

import tracemalloc
from pathlib import Path

import msgspec
import pytest

from messaging.protocol import frames
from perf.history.events import AnyStored, Stay, StoredConversation, StoredMark
from perf.history.recorder import change, digest
from perf.rig.database import Named, connected, erase, final_reads, named, write_final_reads
from tests import scene
from tests.integration.messaging.files import shelf

pytestmark = pytest.mark.django_db

SAY = """
INSERT INTO messaging_message (conversation_id, seq, position, device_id, client_id, kind, body, reply_to_id)
VALUES (%s, 4, 4, %s, 'k', 'data', '{}', %s)
"""
WIRE = """
SELECT messaging_wire(m.id, m.seq, m.position, m.kind, m.body, m.version, m.created, m.device_id, d.user_id,
                      m.client_id, m.reply_to_id, m.edited, m.deleted, m.attachments)
  FROM messaging_message m JOIN presence_device d ON d.id = m.device_id WHERE m.id = %s
"""


async def read(starts: dict[str, int], users: list[str]) -> list[AnyStored]:
    async with connected(scene.database_url()) as connection:
        return [one async for one in final_reads(connection, starts, users)]


async def test_final_reads_have_changes_beyond_the_start_stays_and_marks(sql: scene.Psql) -> None:
    room = scene.new_room(sql)  # changes 1 and 2 are the joins
    message = scene.insert(sql, room.id, "Hello")
    found = await read({room.id: 2}, [])
    (conversation,) = (one for one in found if isinstance(one, StoredConversation))
    assert (conversation.since, conversation.last_seq, conversation.history) == (2, 3, "all")
    (change,) = conversation.changes
    assert (change.seq, change.id, change.position, change.version) == (3, message, 3, 1)
    assert change.digest == digest("Hello")
    stays = [one for one in found if isinstance(one, Stay)]
    assert [(one.user, one.joined, one.left) for one in stays] == [
        (room.first.user, 1, None),
        (room.second.user, 2, None),
    ]


async def test_final_reads_show_a_deleted_message_without_its_text(sql: scene.Psql) -> None:
    room = scene.new_room(sql)
    message = scene.insert(sql, room.id, "Hello")
    sql.execute("DELETE FROM messaging_message WHERE id = %s", [message])
    (conversation, *_) = await read({room.id: 3}, [])
    assert isinstance(conversation, StoredConversation)
    (change,) = conversation.changes
    assert (change.seq, change.deleted, change.digest) == (4, True, 0)


async def test_final_reads_have_all_that_the_wire_shows(sql: scene.Psql) -> None:
    room = scene.new_room(sql)
    answered = scene.insert(sql, room.id, "Why?")
    with sql.transaction():
        sql.execute("SET LOCAL lockstep.writer = 'journal'")
        sql.execute(SAY, [room.id, room.first.device, answered])
    message = str(scene.one(sql, "SELECT id::text FROM messaging_message WHERE client_id = 'k'"))
    for name in ("a.png", "b.png"):
        shelf.upload(sql, room.first, name, message=message)
    shown = scene.one(sql, WIRE, message)
    (conversation, *_) = await read({room.id: 3}, [])
    assert isinstance(conversation, StoredConversation)
    wired = msgspec.json.decode(shown, type=frames.Message)
    assert (wired.user, len(wired.attachments)) == (room.first.user, 2)
    assert conversation.changes == (change(wired),)


async def test_final_reads_follow_users_into_conversations_that_nobody_named(
    sql: scene.Psql,
) -> None:
    room = scene.new_room(sql)
    left = scene.leave(sql, room.id, room.first.user)
    sql.execute(
        "INSERT INTO messaging_receipt (device_id, conversation_id, delivered, read) VALUES (%s, %s, 2, 1)"
        " ON CONFLICT (device_id, conversation_id) DO UPDATE SET delivered = 2, read = 1",
        [room.second.device, room.id],
    )
    found = await read({}, [room.first.user])
    conversation = next(one for one in found if isinstance(one, StoredConversation))
    assert conversation.since == 0
    assert [change.seq for change in conversation.changes] == [1, 2, 3]
    assert Stay(room.id, room.first.user, 1, left) in found
    assert StoredMark(room.id, room.second.device, 2, 1) in found


async def test_a_conversation_without_a_change_beyond_its_start_is_there_all_the_same(
    sql: scene.Psql,
) -> None:
    room = scene.new_room(sql)
    (conversation, *_) = await read({room.id: 2}, [])
    assert conversation == StoredConversation(room.id, 2, 2, "all", ())


def provisioned(sql: scene.Psql, user: str, name: str) -> None:
    sql.execute(
        "UPDATE presence_user SET username = %s, email = %s || '@provision.invalid' WHERE id = %s",
        [name, name, user],
    )


@pytest.mark.parametrize(("prefix", "other"), [("perf-x", "perfx-3"), ("perf-z", "perf-z-3")])
async def test_accounts_are_found_by_their_name_and_those_that_talk_with_others_are_marked(
    sql: scene.Psql, prefix: str, other: str
) -> None:
    """Somebody who only has such a name, and was not made to be measured with, is another."""
    room = scene.new_room(sql)
    ours, theirs = (seat.user for seat in room.seats)
    alone = scene.new_user(sql)
    sql.execute("UPDATE presence_user SET username = %s WHERE id = %s", [other, theirs])
    provisioned(sql, ours, f"{prefix}-1")
    provisioned(sql, alone, f"{prefix}-2")
    async with connected(scene.database_url()) as connection:
        found = {one.name: one for one in await named(connection, [prefix])}
        assert found.pop(other, None) in (None, Named(theirs, "perf-z-3", False, True))
        assert list(found.values()) == [
            Named(ours, f"{prefix}-1", True, True),
            Named(alone, f"{prefix}-2", True, False),
        ]
        await erase(connection, users=[alone])
        assert f"{prefix}-2" not in {one.name for one in await named(connection, [prefix])}


async def test_accounts_are_erased_with_all_that_they_can_have(sql: scene.Psql) -> None:
    seat = scene.new_seat(sql)
    room = scene.new_room(sql, seat)
    provisioned(sql, seat.user, "perf-y-1")
    scene.insert(sql, room.id, "Hello")
    sql.execute("INSERT INTO presence_status (user_id, text) VALUES (%s, 'busy')", [seat.user])
    sql.execute(
        "INSERT INTO presence_linkcode (issuer_id, code_hash) VALUES (%s, 'hash')", [seat.device]
    )
    sql.execute(
        "INSERT INTO messaging_attachment (device_id, file) VALUES (%s, 'f')", [seat.device]
    )
    async with connected(scene.database_url()) as connection:
        await erase(connection, users=[seat.user])
        assert await named(connection, ["perf-y"]) == []


@pytest.mark.long
async def test_fifty_thousand_rows_are_written_without_being_held_in_memory(
    sql: scene.Psql, tmp_path: Path
) -> None:
    rooms = [scene.new_room(sql) for _ in range(25)]
    # Which numbers them itself: a second, not a minute.
    sql.execute("SET lockstep.writer = 'journal'")
    for room in rooms:
        sql.execute(
            "INSERT INTO messaging_message (conversation_id, seq, position, body)"
            " SELECT %s, n, n, repeat('x', 100) FROM generate_series(3, 2002) AS n",
            [room.id],
        )
        sql.execute(
            "UPDATE messaging_conversation SET last_seq = 2002 WHERE id = %s",
            [room.id],
        )
    path = tmp_path / "stored.jsonl"
    starts = {room.id: 0 for room in rooms}
    async with connected(scene.database_url()) as connection:
        tracemalloc.start()
        try:
            await write_final_reads(connection, path, starts=starts, users=[])
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    found = [msgspec.json.decode(line, type=AnyStored) for line in path.read_bytes().splitlines()]
    conversations = [one for one in found if isinstance(one, StoredConversation)]
    assert sum(len(one.changes) for one in conversations) == 50_050
    assert peak < 20 * 2**20  # of some 45 MB that all the changes take as objects
