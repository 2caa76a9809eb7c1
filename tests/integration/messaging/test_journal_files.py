"""Messages with files through the journal: both committed or neither, once, and never another's."""

import asyncio
from typing import Any

import msgspec
import pytest

from messaging.hub.feed import FeedReader
from messaging.journal.journal import Journal
from messaging.protocol.errors import Refusal
from messaging.protocol.frames import Attachment, Delete, Edit, Message
from messaging.protocol.server.batch import Batch
from tests import scene
from tests.integration.messaging.files.shelf import message_of, upload
from tests.integration.messaging.writing import code, refusal, refused_by_the_database, send, told
from tests.scene import Psql, Room

pytestmark = pytest.mark.django_db


async def page(room: Room, since: int = 2) -> list[Message]:
    """What a device that comes back would be sent."""
    reader = FeedReader()
    try:
        batch = await reader.page(room.id, since)
        assert batch is not None
        return msgspec.json.decode(batch.json, type=list[Message])
    finally:
        await reader.close()


async def test_a_message_takes_its_files_along_in_the_order_given(
    journal: Journal, room: Room, sql: Psql
) -> None:
    one, two = (upload(sql, room.first, name) for name in ("one.png", "two.png"))
    announced: list[Message] = []

    def receiver(*, batches: list[Batch], **_: Any) -> None:
        announced.extend(message for batch in batches for message in batch.messages)

    with told(receiver):
        stored = await journal.submit(room.first.device, send(room, "m1", attachments=(two, one)))
    await asyncio.sleep(0)
    (message,) = await page(room)
    assert [(file.id, file.name, file.size) for file in message.attachments] == [
        (two, "two.png", 7),
        (one, "one.png", 7),
    ]
    assert isinstance(message.attachments[0], Attachment)
    assert announced == [message]
    assert {message_of(sql, file) for file in (one, two)} == {stored.message}


async def test_a_repeat_gets_the_first_result_though_its_files_are_taken(
    journal: Journal, room: Room, sql: Psql
) -> None:
    file, spare = upload(sql, room.first), upload(sql, room.first)
    frame = send(room, "m1", attachments=(file,))
    first = await journal.submit(room.first.device, frame)
    assert await journal.submit(room.first.device, frame) == first._replace(repeated=True)
    for other in ((), (spare,), (file, spare)):
        reused = send(room, "m1", attachments=other)
        assert await code(journal, room.first.device, reused) == "client_id_reused"
    assert message_of(sql, spare) is None


async def test_a_file_is_taken_by_one_of_many_messages_at_once(
    journal: Journal, room: Room, sql: Psql
) -> None:
    file = upload(sql, room.first)
    rivals = [
        journal.submit(room.first.device, send(room, f"m{n}", attachments=(file,)))
        for n in range(20)
    ]
    outcomes = await asyncio.gather(*rivals, return_exceptions=True)
    taken = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert [stored.message for stored in taken] == [message_of(sql, file)]
    assert len(await page(room)) == 1


async def test_two_journals_do_not_both_take_a_file(
    journal: Journal, room: Room, sql: Psql
) -> None:
    other, hall = Journal(), scene.new_room(sql, *room.seats)
    other.start()
    try:
        for n in range(10):
            file = upload(sql, room.first)
            here = journal.submit(room.first.device, send(room, f"h{n}", attachments=(file,)))
            there = other.submit(room.first.device, send(hall, f"t{n}", attachments=(file,)))
            outcomes = await asyncio.gather(here, there, return_exceptions=True)
            (taken,) = [it for it in outcomes if not isinstance(it, BaseException)]
            (refused,) = [it for it in outcomes if isinstance(it, BaseException)]
            assert getattr(refused, "refusal", None) is Refusal.NO_SUCH_ATTACHMENT
            assert message_of(sql, file) == taken.message
    finally:
        await other.close()


@pytest.mark.parametrize("whose", ["nobody's", "another's", "taken", "twice", "one of two"])
async def test_a_file_that_is_not_free_refuses_the_whole_message(
    journal: Journal, room: Room, sql: Psql, whose: str
) -> None:
    mine = upload(sql, room.first)
    taken = upload(sql, room.first)
    await journal.submit(room.first.device, send(room, "first", attachments=(taken,)))
    files = {
        "nobody's": ("00000000-0000-7000-8000-000000000000",),
        "another's": (upload(sql, room.second),),
        "taken": (taken,),
        "twice": (mine, mine),
        "one of two": (mine, taken),
    }[whose]
    refused = await refusal(journal, room.first.device, send(room, "m1", attachments=files))
    assert refused.refusal is Refusal.NO_SUCH_ATTACHMENT
    assert refused.refusal.definite
    assert str(refused).startswith("There is no such file: a message takes")
    assert message_of(sql, mine) is None
    assert len(await page(room)) == 1
    # The refusal is final, and its key is free.
    await journal.submit(room.first.device, send(room, "m1", attachments=(mine,)))


async def test_a_user_sends_from_one_device_what_another_uploaded(
    journal: Journal, room: Room, sql: Psql
) -> None:
    laptop = scene.new_seat(sql, room.first.user)
    file = upload(sql, laptop)
    stored = await journal.submit(room.first.device, send(room, "m1", attachments=(file,)))
    assert message_of(sql, file) == stored.message


async def test_what_the_database_refuses_takes_no_file(
    journal: Journal, room: Room, sql: Psql
) -> None:
    file = upload(sql, room.first)
    with refused_by_the_database(sql, "poison"):
        frames = [send(room, f"m{n}") for n in range(5)]
        poison = send(room, "p", "poison", attachments=(file,))
        asked = [journal.submit(room.first.device, frame) for frame in (*frames, poison)]
        *stored, refused = await asyncio.gather(*asked, return_exceptions=True)
    assert getattr(refused, "refusal", None) is Refusal.STORAGE_REFUSED
    assert len(stored) == len(await page(room)) == 5
    assert message_of(sql, file) is None


async def test_an_edit_keeps_the_files_and_a_deletion_ends_them(
    journal: Journal, room: Room, sql: Psql
) -> None:
    device = room.first.device
    file = upload(sql, room.first)
    first = await journal.submit(device, send(room, "m1", attachments=(file,)))
    edit = Edit(message=first.message, base_version=1, client_id="e", body="x")
    await journal.submit(device, edit)
    (edited,) = await page(room)
    assert (edited.body, [it.id for it in edited.attachments]) == ("x", [file])
    conflict = await refusal(
        journal, device, Edit(message=first.message, base_version=1, client_id="f", body="y")
    )
    assert conflict.current == edited
    await journal.submit(device, Delete(message=first.message, base_version=2, client_id="d"))
    (gone,) = await page(room)
    assert gone.deleted
    assert gone.attachments == ()


async def test_names_of_files_count_for_the_length_of_a_page(
    journal: Journal, room: Room, sql: Psql
) -> None:
    for n in range(30):
        files = tuple(upload(sql, room.first, f"{n}-{k}-" + "ä" * 240) for k in range(10))
        await journal.submit(room.first.device, send(room, f"m{n}", attachments=files))
    reader = FeedReader()
    try:
        batch = await reader.page(room.id, 2)
    finally:
        await reader.close()
    assert batch is not None
    assert batch.cut
    assert len(batch.json) < 200_000
