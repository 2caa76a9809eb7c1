"""Erased, a user is nobody: no column of any table tells of them, and everybody else's order stays as it was."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError
from django.db import models

from messaging.models import Attachment, Inbox, Membership, Message, Receipt
from messaging.protocol.errors import CloseCode
from presence.models import Connection, Device, LinkCode, Status, User
from tests import scene
from tests.device import Device as Client
from tests.integration.messaging.person import MARK, SHA256, TOKEN_HASH, Person, erase_now
from tests.scene import Psql, Room

pytestmark = pytest.mark.django_db

# What stays of a person's rows, and nothing else: keys, places in the order, and when something was written.
KEPT = {
    User: {"id"},
    Device: {"id", "user"},
    Membership: {"id", "conversation", "user", "role", "joined_seq", "left_seq"},
    Message: {
        *("id", "conversation", "seq", "position", "device", "kind", "reply_to"),
        *("version", "created", "edited", "deleted"),
    },
    LogEntry: {"id", "action_time", "user", "content_type", "object_id", "action_flag"},
}
KEYS_ONLY = {Inbox}
EMPTY = (None, "", b"", 0, False)
NOT_THEIRS = {(Message, "reply_to")}  # whoever answers writes a message of their own
NOT_PLANTED = {
    (User, "is_active"),
    (Device, "revoked"),
    (Message, "reply_to"),
}  # else they could do nothing


Row = dict[str, Any]


def rows_of(user: UUID) -> dict[type[models.Model], dict[Any, Row]]:
    """Every row that belongs to a user, whatever the way there, column by column."""
    found: dict[type[models.Model], set[Any]] = {User: {user}}
    grown = True
    while grown:
        before = sum(map(len, found.values()))
        for model, field in _relations():
            owners = found.get(field.related_model, set())
            mine = model._default_manager.filter(**{f"{field.name}__in": owners})
            found.setdefault(model, set()).update(mine.values_list("pk", flat=True))
        grown = sum(map(len, found.values())) > before
    return {
        model: {row.pk: _columns(row) for row in model._default_manager.filter(pk__in=keys)}
        for model, keys in found.items()
        if keys
    }


def _relations() -> Iterator[tuple[type[models.Model], Any]]:
    for model in apps.get_models(include_auto_created=True):
        for field in model._meta.concrete_fields:
            if field.is_relation and (model, field.name) not in NOT_THEIRS:
                yield model, field


def _columns(row: models.Model) -> Row:
    values = {field.name: field.value_from_object(row) for field in row._meta.concrete_fields}
    return {name: bytes(v) if isinstance(v, memoryview) else v for name, v in values.items()}


def whole_database(sql: Psql) -> dict[str, str]:
    """All rows of every table as text, whoever made the table."""
    tables = sql.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return {
        name: "\n".join(row[0] for row in sql.execute(f'SELECT t::text FROM "{name}" t'))
        for (name,) in tables
    }


def test_no_column_of_any_table_tells_of_an_erased_user(
    person: Person, shelf: Path, psql: Psql
) -> None:
    before = whole_database(psql)
    needles = (MARK, TOKEN_HASH[:-1].hex(), SHA256, (b"\x7a" * 16).hex())
    for needle in needles:
        assert any(needle in text for text in before.values()), needle
    assert "2 devices, 3 conversations, 4 messages, 2 files" in erase_now(MARK)
    after = whole_database(psql)
    for needle in needles:
        assert [name for name, text in after.items() if needle in text] == [], needle
    assert [path for path in shelf.rglob("*") if path.is_file()] == []


def test_a_column_that_is_added_can_not_be_forgotten(person: Person) -> None:
    """Each column of each of their rows is named as kept, or had a value and has it no more."""
    before = rows_of(person.user.pk)
    assert {Status, Receipt, Attachment, LinkCode, Connection, LogEntry} <= before.keys()
    erase_now(str(person.user.pk))
    after = rows_of(person.user.pk)
    planted, still = set(), set()
    wanted = set()
    for model, rows in before.items():
        for key in rows.keys() & after.get(model, {}).keys():
            for name, value in rows[key].items():
                column = (model, name)
                if model in KEYS_ONLY or name in KEPT.get(model, ()) or column in NOT_PLANTED:
                    continue
                wanted.add(column)
                if value not in EMPTY:
                    planted.add(column)
                    still |= {column} if after[model][key][name] == value else set()
    assert wanted - planted == set(), "give these a value in the test"
    assert still == set(), (
        "these tell of an erased user: see presence.erasure and messaging.erasure"
    )


def test_the_order_of_conversations_stays_and_a_repeat_changes_nothing(
    person: Person, psql: Psql
) -> None:
    room = person.group.pk
    places = (
        "SELECT id, position FROM messaging_message WHERE conversation_id = %s ORDER BY position"
    )
    before = psql.execute(places, [room]).fetchall()
    assert "has 2 devices" in erase_now(MARK, "--dry-run")
    assert psql.execute(places, [room]).fetchall() == before
    erase_now(MARK)
    after = psql.execute(places, [room]).fetchall()
    assert after[: len(before)] == before
    assert len(after) == len(before) + 1  # they left
    numbers = psql.execute("SELECT last_seq FROM messaging_conversation ORDER BY id").fetchall()
    assert "0 devices, 0 conversations, 0 messages, 0 files" in erase_now(str(person.user.pk))
    assert (
        psql.execute("SELECT last_seq FROM messaging_conversation ORDER BY id").fetchall()
        == numbers
    )


def test_nobody_of_that_name_is_one_line_and_nobody_is_erased(person: Person) -> None:
    for name in ("nobody", "01a1fc67-4d76-7175-bbac-488cc59361c0"):
        with pytest.raises(CommandError, match=f"There is no user {name}"):
            erase_now(MARK, name)
    assert User.objects.filter(username=MARK, is_active=True).exists()


async def test_their_sockets_close_and_the_others_are_told(
    attach: Callable[..., Any], room: Room, sql: Psql
) -> None:
    ann, bob = await attach(room.first), await attach(room.second)
    for body in ("m1", "m2"):
        answer = await ann.write(room.id, body)
    await bob.reaches(room.id, answer["seq"])
    await sync_to_async(erase_now)(room.first.user)
    assert ann.closed is not None
    assert ann.closed.code == CloseCode.REVOKED
    await bob.reaches(room.id, scene.last_seq(sql, room.id))
    newest = {message["id"]: message for message in bob.seen[room.id]}
    texts = [one for one in newest.values() if one["kind"] == "text"]
    assert [(one.get("body", ""), "deleted" in one) for one in texts] == [("", True), ("", True)]
    said = [json.loads(one["body"]) for one in newest.values() if one["kind"] == "system"]
    names = {one["event"]: one["name"] for one in said if one["user"] == room.first.user}
    assert names == dict.fromkeys(("joined", "left"), f"erased-{room.first.user}")
    assert (await bob.write(room.id, "still here"))["type"] == "ok"
    late = await attach(Client(room.second.token), cursors={room.id: 0})
    await late.reaches(room.id, bob.cursors[room.id])
    assert late.bodies(room.id) == ["", "", "still here"]
