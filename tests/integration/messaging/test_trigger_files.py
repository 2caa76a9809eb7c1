"""Files written past the journal: each such write is a change of the messages concerned (guarantee G9)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg
import pytest
from django.db import connection
from django.db.models.functions import Now

from messaging.models import Attachment, Conversation, Message
from messaging.protocol.frames import Attachment as Shown
from tests.integration.messaging.conftest import World
from tests.integration.messaging.files.shelf import upload

Psql = psycopg.Connection[Any]
Heard = Callable[[], list[str]]
ATTACH = "UPDATE messaging_attachment SET message_id = %s WHERE id = %s"


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The world with two uploads of Ann's: `kept` is the message's (change 3), `free` nobody's."""

    world: World
    kept: Attachment
    free: Attachment
    message: Message

    def shown(self) -> list[str]:
        """The ids of the files that devices see in the message."""
        self.message.refresh_from_db()
        return [file["id"] for file in self.message.attachments or []]


@pytest.fixture
def desk(world: World, psql: Psql, heard: Heard) -> Desk:
    kept = upload(psql, world.device.pk, "kept.png", message=str(world.message.pk))
    free = upload(psql, world.device.pk, "free.png")
    world.message.refresh_from_db()
    assert (world.message.seq, world.message.version) == (3, 2)
    assert heard() == world.groups("room")
    return Desk(
        world=world,
        kept=Attachment.objects.get(pk=kept),
        free=Attachment.objects.get(pk=free),
        message=world.message,
    )


def row(desk: Desk, **values: Any) -> Attachment:
    return Attachment(device=desk.world.device, name="new.png", **values)


def attach(file: Attachment, message: Message | None) -> None:
    file.message = message
    file.save()


def copy(desk: Desk, psql: Psql) -> None:
    statement = "COPY messaging_attachment (device_id, name, message_id) FROM STDIN"
    with psql.cursor().copy(statement) as stream:
        stream.write_row([desk.world.device.pk, "new.png", desk.message.pk])


Act = Callable[[Desk, Psql], object]

# How many files the message shows afterwards, if that is a change of it.
CELLS: dict[str, tuple[Act, int | None]] = {
    "INSERT free": (lambda d, p: row(d).save(), None),
    "INSERT orm": (lambda d, p: row(d, message=d.message).save(), 2),
    "INSERT bulk_create": (
        lambda d, p: Attachment.objects.bulk_create(
            [row(d, message=d.message), row(d, message=d.message), row(d)]
        ),
        3,
    ),
    "INSERT psql": (
        lambda d, p: upload(p, d.world.device.pk, message=str(d.message.pk)),
        2,
    ),
    "COPY": (copy, 2),
    "UPDATE save": (lambda d, p: attach(d.free, d.message), 2),
    "UPDATE queryset": (lambda d, p: Attachment.objects.update(message=d.message), 2),
    "UPDATE psql": (lambda d, p: p.execute(ATTACH, [d.message.pk, d.free.pk]), 2),
    "UPDATE detach": (lambda d, p: attach(d.kept, None), 0),
    "UPDATE name": (lambda d, p: Attachment.objects.update(name="renamed.png"), 1),
    "UPDATE of a free one": (
        lambda d, p: Attachment.objects.filter(pk=d.free.pk).update(name="x"),
        None,
    ),
    "UPDATE of what is not shown": (lambda d, p: Attachment.objects.update(file="elsewhere"), None),
    "DELETE orm": (lambda d, p: d.kept.delete(), 0),
    "DELETE psql": (lambda d, p: p.execute("DELETE FROM messaging_attachment"), 0),
    "DELETE of a free one": (lambda d, p: d.free.delete(), None),
}


@pytest.mark.parametrize("cell", CELLS)
def test_a_write_of_a_file_is_a_change_of_its_message(
    cell: str, desk: Desk, psql: Psql, heard: Heard
) -> None:
    act, files = CELLS[cell]
    act(desk, psql)
    shown = desk.shown()
    state = (desk.message.seq, desk.message.position, desk.message.version)
    if files is None:
        assert (state, shown) == ((3, 2, 2), [str(desk.kept.pk)])
        assert heard() == []
    else:
        assert (state, len(shown)) == ((4, 2, 3), files)
        assert desk.message.edited
        assert heard() == desk.world.groups("room")


def test_the_list_is_what_the_protocol_calls_attachments(desk: Desk) -> None:
    desk.message.refresh_from_db()
    (shown,) = msgspec.convert(desk.message.attachments, list[Shown])
    row = desk.kept
    assert shown == Shown(
        id=str(row.pk), name="kept.png", size=8, type="image/png", sha256=row.sha256
    )
    assert list(desk.message.attachments[0]) == list(Shown.__struct_fields__)


def test_a_file_that_moves_changes_both_messages(desk: Desk, heard: Heard) -> None:
    hall = Conversation.objects.create()
    other = Message.objects.create(conversation=hall, body="other")
    heard()
    attach(desk.kept, other)
    other.refresh_from_db()
    assert [file["id"] for file in other.attachments] == [str(desk.kept.pk)]
    assert desk.shown() == []
    assert heard() == sorted([f"conversation.{hall.pk}", *desk.world.groups("room")])


def test_files_that_are_added_at_once_are_all_shown(
    desk: Desk, at_once: Callable[[Callable[[Psql], None]], None]
) -> None:
    def write(session: Psql) -> None:
        upload(session, desk.world.device.pk, message=str(desk.message.pk))
        upload(session, desk.world.device.pk, message=str(desk.message.pk))

    at_once(write)
    assert len(desk.shown()) == 9
    assert desk.world.numbers() == [1, 11]


@pytest.mark.parametrize("way", ["orm", "psql"])
def test_what_a_writer_says_of_the_list_itself_is_ignored(
    desk: Desk, psql: Psql, heard: Heard, way: str
) -> None:
    if way == "orm":
        Message.objects.filter(pk=desk.message.pk).update(attachments=[])
        made = Message.objects.create(conversation=desk.world.room, attachments=[{"id": "x"}])
        made.refresh_from_db()
        assert made.attachments is None
    else:
        psql.execute("UPDATE messaging_message SET attachments = NULL WHERE kind <> 'system'")
        assert heard() == []
    assert desk.shown() == [str(desk.kept.pk)]


@pytest.mark.parametrize("way", ["DELETE", "UPDATE"])
def test_a_tombstone_shows_no_files_and_takes_none(desk: Desk, psql: Psql, way: str) -> None:
    if way == "DELETE":
        psql.execute("DELETE FROM messaging_message WHERE id = %s", [desk.message.pk])
    else:
        Message.objects.filter(pk=desk.message.pk).update(deleted=Now())
    assert desk.shown() == []
    assert desk.message.seq == 4
    with pytest.raises(psycopg.errors.RestrictViolation, match="deleted, for ever"):
        psql.execute(ATTACH, [desk.message.pk, desk.free.pk])
    Attachment.objects.filter(pk=desk.kept.pk).delete()
    assert desk.shown() == []
    assert desk.message.seq == 4


def test_an_edit_by_sql_keeps_the_files(desk: Desk) -> None:
    Message.objects.filter(pk=desk.message.pk).update(body="edited")
    assert desk.shown() == [str(desk.kept.pk)]
    assert desk.message.body == "edited"


def test_system_messages_take_no_files(desk: Desk, psql: Psql) -> None:
    joined = Message.objects.get(conversation=desk.world.room, kind="system")
    with pytest.raises(psycopg.errors.RestrictViolation, match="have no files"):
        psql.execute(ATTACH, [joined.pk, desk.free.pk])


def test_a_message_has_ten_files_at_most(desk: Desk, psql: Psql) -> None:
    message = str(desk.message.pk)
    for _ in range(9):
        upload(psql, desk.world.device.pk, message=message)
    with pytest.raises(psycopg.errors.RestrictViolation, match="has ten files"):
        upload(psql, desk.world.device.pk, message=message)
    assert len(desk.shown()) == 10


def test_a_purge_takes_the_files_along(desk: Desk, psql: Psql) -> None:
    psql.execute("SET lockstep.purge = on")
    psql.execute("DELETE FROM messaging_message WHERE id = %s", [desk.message.pk])
    assert list(Attachment.objects.all()) == [desk.free]


def test_the_table_is_not_truncated_by_accident(desk: Desk) -> None:
    with (
        pytest.raises(Exception, match=r"cannot be truncated"),
        connection.cursor() as cursor,
    ):
        cursor.execute("TRUNCATE messaging_attachment")
