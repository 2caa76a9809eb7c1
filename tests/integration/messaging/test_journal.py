"""The journal against a real database: numbers, keys, rules. Lanes, answers and the model have files of their own."""

import asyncio
from typing import Any

import pytest

from messaging.journal.journal import Journal
from messaging.protocol.errors import Refusal, Refused
from messaging.protocol.frames import Delete, Edit, Send
from messaging.protocol.server.actions import Stored
from messaging.protocol.server.batch import Batch
from tests import scene
from tests.integration.messaging.writing import code, refusal, send, told
from tests.scene import Psql, Room

pytestmark = pytest.mark.django_db


# Numbers and keys


async def test_messages_are_numbered_in_the_order_put(
    journal: Journal, room: Room, sql: Psql
) -> None:
    asked = [journal.submit(room.first.device, send(room, f"m{n}")) for n in range(700)]
    stored = await asyncio.gather(*asked)

    assert [s.seq for s in stored] == list(range(3, 703))  # more than one batch takes
    assert all(s.position == s.seq and s.version == 1 and not s.repeated for s in stored)
    assert scene.bodies(sql, room.id) == [f"m{n}" for n in range(700)]
    assert scene.last_seq(sql, room.id) == 702


async def test_a_repeat_gets_the_first_result_for_ever(
    journal: Journal, room: Room, sql: Psql
) -> None:
    device = room.first.device
    first = await journal.submit(device, send(room, "m1"))
    again = await journal.submit(device, send(room, "m1"))
    assert again == first._replace(repeated=True)

    await journal.submit(
        device, Edit(message=first.message, base_version=1, client_id="e", body="x")
    )
    edited = await journal.submit(device, send(room, "m1"))
    scene.leave(sql, room.id, room.first.user)
    left = await journal.submit(device, send(room, "m1"))
    for late in (edited, left):
        assert (late.message, late.position, late.created) == (
            first.message,
            first.position,
            first.created,
        )
    assert scene.count(sql, "messaging_message", "device_id = %s", device) == 1


async def test_repeats_that_arrive_together_are_stored_once(
    journal: Journal, room: Room, sql: Psql
) -> None:
    same = [journal.submit(room.first.device, send(room, "twin")) for _ in range(20)]
    stored = await asyncio.gather(*same)
    assert len({s.message for s in stored}) == 1
    assert [s.repeated for s in stored] == [False] + [True] * 19
    assert scene.bodies(sql, room.id) == ["twin"]


@pytest.mark.parametrize(
    "other",
    [{"body": "other"}, {"kind": "data", "body": "1"}, {"conversation": "elsewhere"}],
    ids=lambda o: next(iter(o)),
)
async def test_a_key_of_another_message_is_refused(
    journal: Journal, room: Room, sql: Psql, other: dict[str, Any]
) -> None:
    await journal.submit(room.first.device, send(room, "m1", "1"))
    if "conversation" in other:
        other = {"conversation": scene.new_room(sql, *room.seats).id}
    frame = Send(**{"conversation": room.id, "client_id": "m1", "body": "1", **other})
    assert await code(journal, room.first.device, frame) == "client_id_reused"
    assert await code(journal, room.second.device, send(room, "m2", reply_to=room.id)) == (
        "no_such_message"
    )


async def test_two_devices_may_use_the_same_key(journal: Journal, room: Room) -> None:
    one = await journal.submit(room.first.device, send(room, "same"))
    two = await journal.submit(room.second.device, send(room, "same"))
    assert one.message != two.message


async def test_a_reply_must_answer_a_message_of_its_own_conversation(
    journal: Journal, room: Room, sql: Psql
) -> None:
    other = scene.new_room(sql, *room.seats)
    there = await journal.submit(room.first.device, send(other, "there"))
    here = await journal.submit(room.first.device, send(room, "here"))
    frame = send(room, "r1", reply_to=there.message)
    assert await code(journal, room.first.device, frame) == "no_such_message"
    await journal.submit(room.first.device, send(room, "r2", reply_to=here.message))


# Edits and deletes


async def test_an_edit_takes_the_next_number_and_keeps_its_place(
    journal: Journal, room: Room
) -> None:
    seen: list[Batch] = []
    device = room.first.device
    first = await journal.submit(device, send(room, "m1"))
    await journal.submit(device, send(room, "m2"))
    with told(lambda batches, **_: seen.extend(batches)):
        edit = Edit(message=first.message, base_version=1, client_id="e1", body="better")
        edited = await journal.submit(device, edit)
        gone = await journal.submit(
            device, Delete(message=first.message, base_version=2, client_id="d1")
        )
    assert (edited.seq, edited.position, edited.version) == (5, 3, 2)
    assert (gone.seq, gone.position, gone.version) == (6, 3, 3)
    shown = [batch.messages[0] for batch in seen]
    assert [(m.seq, m.position, m.body) for m in shown] == [(5, 3, "better"), (6, 3, "")]
    assert shown[0].edited is not None
    assert shown[1].deleted is not None
    assert shown[1].user == room.first.user


async def test_the_newest_change_may_be_repeated_and_anything_else_stale_conflicts(
    journal: Journal, room: Room
) -> None:
    device = room.first.device
    first = await journal.submit(device, send(room, "m1"))
    one = Edit(message=first.message, base_version=1, client_id="e1", body="one")
    two = Edit(message=first.message, base_version=2, client_id="e2", body="two")
    once = await journal.submit(device, one)
    assert (await journal.submit(device, one)) == once._replace(repeated=True)
    await journal.submit(device, two)

    stale = await refusal(journal, device, one)
    assert stale.refusal is Refusal.CONFLICT
    assert not stale.definite  # it was done
    assert stale.current is not None
    assert (stale.current.body, stale.current.version, stale.current.client_id) == ("two", 3, "m1")
    assert (await journal.submit(device, two)).repeated


async def test_an_edit_is_said_not_to_be_done_where_another_one_took_its_version(
    journal: Journal, room: Room
) -> None:
    device = room.first.device
    first = await journal.submit(device, send(room, "m1"))
    one = Edit(message=first.message, base_version=1, client_id="e1", body="one")
    other = Edit(message=first.message, base_version=1, client_id="e2", body="other")
    await journal.submit(device, one)
    stale = await refusal(journal, device, other)
    assert (stale.refusal, stale.definite) == (Refusal.CONFLICT, True)


async def test_edits_of_one_moment_change_a_message_one_after_the_other(
    journal: Journal, room: Room
) -> None:
    first = await journal.submit(room.first.device, send(room, "m1"))
    asked = [
        journal.submit(
            room.first.device,
            Edit(message=first.message, base_version=1, client_id=f"e{n}", body=str(n)),
        )
        for n in range(5)
    ]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(outcomes[0], Stored)
    for outcome in outcomes[1:]:
        assert isinstance(outcome, Refused)
        assert outcome.refusal is Refusal.CONFLICT
        assert outcome.current is not None
        assert outcome.current.body == "0"


async def test_a_deleted_message_stays_deleted(journal: Journal, room: Room) -> None:
    device = room.first.device
    first = await journal.submit(device, send(room, "m1"))
    gone = Delete(message=first.message, base_version=1, client_id="d1")
    await journal.submit(device, gone)
    assert (await journal.submit(device, gone)).repeated
    revival = Edit(message=first.message, base_version=2, client_id="e1", body="back")
    refused = await refusal(journal, device, revival)
    assert refused.refusal is Refusal.CONFLICT
    assert refused.current is not None
    assert (refused.current.body, refused.current.version) == ("", 2)


async def test_only_the_author_edits_and_only_an_admin_deletes_for_others(
    journal: Journal, room: Room, sql: Psql
) -> None:
    other, admin = room.second, scene.new_seat(sql)
    scene.join(sql, room.id, admin.user, role="admin")
    laptop = scene.new_seat(sql, room.first.user)
    first = (await journal.submit(room.first.device, send(room, "m1"))).message
    edit = Edit(message=first, base_version=1, client_id="e", body="mine now")
    delete = Delete(message=first, base_version=2, client_id="d")

    assert await code(journal, other.device, edit) == "forbidden"
    assert await code(journal, admin.device, edit) == "forbidden"
    assert await code(journal, other.device, delete) == "forbidden"
    assert (await journal.submit(laptop.device, edit)).version == 2
    assert (await journal.submit(admin.device, delete)).version == 3


async def test_system_messages_never_change(journal: Journal, room: Room, sql: Psql) -> None:
    sql.execute(
        "UPDATE messaging_membership SET role = 'admin' WHERE user_id = %s", [room.first.user]
    )
    row = sql.execute(
        "SELECT id::text FROM messaging_message WHERE conversation_id = %s AND seq = 1", [room.id]
    ).fetchone()
    assert row
    edit = Edit(message=row[0], base_version=1, client_id="e", body="{}")
    assert await code(journal, room.first.device, edit) == "forbidden"
    delete = Delete(message=row[0], base_version=1, client_id="d")
    assert await code(journal, room.first.device, delete) == "forbidden"


# Who may write: judged under the lock


async def test_strangers_and_the_revoked_write_nothing(
    journal: Journal, room: Room, sql: Psql
) -> None:
    stranger = scene.new_seat(sql)
    first = (await journal.submit(room.first.device, send(room, "m1"))).message
    edit = Edit(message=first, base_version=1, client_id="e", body="x")
    nowhere = "00000000-0000-4000-8000-000000000000"

    assert await code(journal, stranger.device, send(room, "m1")) == "no_such_conversation"
    assert await code(journal, stranger.device, edit) == "no_such_message"
    lost = Send(conversation=nowhere, client_id="m2", body="x")
    assert await code(journal, room.first.device, lost) == "no_such_conversation"
    assert await code(journal, nowhere, send(room, "m1")) == "revoked"
    active = "UPDATE presence_user SET is_active = %s WHERE id = %s"
    sql.execute(active, [False, room.first.user])  # the sessions may live for a moment longer
    assert await code(journal, room.first.device, send(room, "m2")) == "revoked"
    assert await code(journal, room.first.device, edit) == "revoked"
    sql.execute(active, [True, room.first.user])
    scene.revoke(sql, room.first.device)
    assert await code(journal, room.first.device, send(room, "m1")) == "revoked"
    assert await code(journal, room.first.device, edit) == "revoked"
    assert scene.bodies(sql, room.id) == ["m1"]


async def test_a_member_removed_while_the_write_waits_for_the_lock_is_refused(
    journal: Journal, room: Room, sql: Psql
) -> None:
    with scene.connect() as other:
        other.execute("BEGIN")
        scene.leave(other, room.id, room.first.user)  # holds the conversation's lock
        asked = asyncio.ensure_future(code(journal, room.first.device, send(room, "m1")))
        await waits_for_lock(sql)
        other.execute("COMMIT")
        assert await asked == "no_such_conversation"
    assert scene.bodies(sql, room.id) == []


async def waits_for_lock(sql: Psql) -> None:
    """Until one of the journal's lanes waits for someone's lock."""
    waiting = "application_name LIKE 'lockstep %%' AND wait_event_type = 'Lock'"
    await scene.eventually(lambda: scene.count(sql, "pg_stat_activity", waiting))
