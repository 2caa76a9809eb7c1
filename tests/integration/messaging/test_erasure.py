"""Erased, a user is nobody: no column of any table tells of them, and everybody else's order stays as it was."""

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.db import SessionStore
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.db import connection, models
from django.db.models.signals import pre_save
from django.utils.timezone import now

from messaging import tombstones
from messaging.conversations import ensure_direct, ensure_self
from messaging.files.contents import place_of, storage
from messaging.models import Attachment, Conversation, Inbox, Membership, Message, Receipt
from messaging.protocol.errors import CloseCode
from presence import roster
from presence.models import Connection, Device, LinkCode, Node, Status, User
from presence.tokens import UserGone, register
from tests import scene
from tests.device import Device as Client
from tests.scene import Psql, Room

pytestmark = pytest.mark.django_db

MARK = "quackenbush"  # in everything that the person says, or is called
SHA256 = "5e" * 32
TOKEN_HASH = b"\x7a" * 32

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


class Person:
    """A user who has left a trace in every column that there is, and one other."""

    def __init__(self, root: Path) -> None:
        self.user = self._user()
        self.other = User.objects.create_user("bystander")
        self.devices = [self._device(n) for n in range(2)]
        self.group = Conversation.objects.create(title="Team")
        for member in (self.user, self.other):
            Membership.objects.create(conversation=self.group, user=member)
        Membership.objects.filter(user=self.user).update(role="admin")
        self.messages = [
            self._message(room, n)
            for n, room in enumerate(
                [
                    self.group,
                    self.group,
                    ensure_self(self.user.pk),
                    ensure_direct(self.user, self.other)[0],
                ]
            )
        ]
        Message.objects.create(conversation=self.group, body="an answer", reply_to=self.messages[0])
        self._files()
        self._admin()

    def _user(self) -> User:
        user = User.objects.create_user(
            MARK,
            f"{MARK}@example.org",
            f"password of {MARK}",
            first_name=f"Mina {MARK}",
            last_name=MARK,
        )
        moments = {"last_login": now(), "date_joined": now()}
        User.objects.filter(pk=user.pk).update(is_staff=True, is_superuser=True, **moments)
        user.groups.add(Group.objects.get_or_create(name="editors")[0])
        user.user_permissions.add(Permission.objects.all()[0])
        Status.objects.create(
            user=user, text=f"{MARK} is out", text_until=now() + timedelta(days=1), invisible=True
        )
        return user

    def _device(self, n: int) -> Device:
        device = Device.objects.create(
            user=self.user,
            installation=f"{MARK}-{n}",
            name=f"{MARK}'s phone",
            platform=f"{MARK}OS",
            token_hash=TOKEN_HASH[:-1] + bytes([n]),
            last_seen=now(),
        )
        Connection.objects.create(device=device, node=Node.objects.create(name="dead", lease=now()))
        code = LinkCode.objects.create(issuer=device, code_hash=bytes([n]) * 32)
        LinkCode.objects.filter(pk=code.pk).update(used=now(), redeemed_by=device)
        return device

    def _message(self, room: Conversation, n: int) -> Message:
        device = self.devices[n % 2]
        message = Message.objects.create(
            conversation=room,
            device=device,
            client_id=f"{MARK}-{n}",
            body=f"{MARK} says",
            fingerprint=b"\x7a" * 16,
        )
        Message.objects.filter(pk=message.pk).update(body=f"{MARK} says {n}")  # edited
        with scene.connect() as sql:
            sql.execute("SET lockstep.writer = 'journal'")
            change = "UPDATE messaging_message SET change_id = %s WHERE id = %s"
            sql.execute(change, [f"{device.pk}:{MARK}-{n}", message.pk])
        room.refresh_from_db()
        Receipt.objects.update_or_create(
            device=device, conversation=room, defaults={"delivered": room.last_seq, "read": 1}
        )
        return message

    def _files(self) -> None:
        storage().save(place_of(SHA256), ContentFile(f"secrets of {MARK}".encode()))
        for message in (self.messages[0], None):
            Attachment.objects.create(
                device=self.devices[0],
                message=message,
                file=place_of(SHA256),
                name=f"{MARK}.txt",
                size=20,
                type=f"text/{MARK}",
                sha256=SHA256,
            )

    def _admin(self) -> None:
        for row in (self.user, *self.devices):
            LogEntry.objects.create(
                user=self.user,
                content_type=ContentType.objects.get_for_model(row),
                object_id=str(row.pk),
                object_repr=str(row),
                action_flag=2,
                change_message=f"renamed to {MARK}",
            )
        session = SessionStore()
        session["_auth_user_id"] = str(self.user.pk)
        session.create()


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


def erase_now(*arguments: str) -> str:
    said = StringIO()
    try:
        call_command("erase_user", *arguments, stdout=said)
    finally:
        connection.close()
    return said.getvalue()


@pytest.fixture
def root(settings: Any, tmp_path: Path) -> Path:
    """An empty storage of files."""
    options = settings.STORAGES["files"] | {"OPTIONS": {"location": tmp_path}}
    settings.STORAGES = settings.STORAGES | {"files": options}
    return tmp_path


@pytest.fixture
def person(transactional_db: None, root: Path) -> Person:
    return Person(root)


def test_no_column_of_any_table_tells_of_an_erased_user(
    person: Person, root: Path, psql: Psql
) -> None:
    before = whole_database(psql)
    needles = (MARK, TOKEN_HASH[:-1].hex(), SHA256, (b"\x7a" * 16).hex())
    for needle in needles:
        assert any(needle in text for text in before.values()), needle
    assert "2 devices, 3 conversations, 4 messages, 2 files" in erase_now(MARK)
    after = whole_database(psql)
    for needle in needles:
        assert [name for name, text in after.items() if needle in text] == [], needle
    assert [path for path in root.rglob("*") if path.is_file()] == []


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


def test_who_logged_in_before_they_were_erased_registers_no_device_after_it(
    person: Person,
) -> None:
    logged_in = User.objects.get(pk=person.user.pk)
    erase_now(MARK)
    with pytest.raises(UserGone, match="not active any more"):
        register(user=logged_in, installation=f"{MARK}-late", name=f"{MARK}'s watch")
    assert not Device.objects.filter(installation__contains=MARK).exists()


def test_a_device_that_is_being_registered_is_erased_too(person: Person) -> None:
    looked, commit = Event(), Event()

    def wait(**_: Any) -> None:
        """The user was active when it was looked at, and the device is not stored yet."""
        looked.set()
        commit.wait()

    def register_slowly() -> None:
        pre_save.connect(wait, sender=Device)
        try:
            register(user=person.user, installation=f"{MARK}-late", name=f"{MARK}'s watch")
        finally:
            pre_save.disconnect(wait, sender=Device)
            connection.close()

    with ThreadPoolExecutor(2) as threads, scene.connect() as looker:
        slow = threads.submit(register_slowly)
        looked.wait()
        erasing = threads.submit(erase_now, MARK)
        waits = "datname = current_database() AND wait_event_type = 'Lock'"

        def is_over_or_waits() -> bool:
            return erasing.done() or scene.count(looker, "pg_stat_activity", waits) > 0

        asyncio.run(scene.eventually(is_over_or_waits))
        commit.set()
        slow.result()
        erasing.result()
    assert not Device.objects.filter(installation__contains=MARK).exists()
    assert not Device.objects.filter(user=person.user, revoked=None).exists()


def test_a_conversation_that_stays_locked_ends_the_command_with_a_line_and_a_repeat_goes_on(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waited for as long as somebody held the conversation, and said nothing."""
    monkeypatch.setattr(tombstones, "ATTEMPTS", 2)
    monkeypatch.setattr(tombstones, "LOCK_TIMEOUT_MS", 50)
    with scene.connect() as holder:
        holder.execute("SET idle_in_transaction_session_timeout = '10s'")  # or a wait never ends
        holder.execute("BEGIN")
        holder.execute("SELECT FROM messaging_conversation FOR UPDATE")
        with pytest.raises(CommandError, match=f"lock timeout.*Run it again with {person.user.pk}"):
            erase_now(MARK)
    assert Membership.objects.filter(user=person.user, left_seq=None).count() == 3
    erase_now(str(person.user.pk))
    assert not Membership.objects.filter(user=person.user, left_seq=None).exists()


def test_a_device_that_stays_locked_ends_the_command_with_a_line(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "REVOKE_TIMEOUT_MS", 100)
    with scene.connect() as holder:
        holder.execute("BEGIN")
        holder.execute("SELECT FROM presence_device FOR NO KEY UPDATE")
        with pytest.raises(CommandError, match=f"timeout. Run it again with {person.user.pk}"):
            erase_now(MARK)


def test_what_a_storage_that_fails_leaves_is_removed_by_a_repeat(
    person: Person, root: Path
) -> None:
    """The rows went first: contents without a row were found by no repeat."""
    content = root / place_of(SHA256)
    content.unlink()
    stuck = content / "stuck"
    stuck.mkdir(parents=True)
    with pytest.raises(CommandError, match=f"not empty.*Run it again with {person.user.pk}"):
        erase_now(MARK)
    stuck.rmdir()
    content.rmdir()
    content.write_text(f"secrets of {MARK}")
    erase_now(str(person.user.pk))
    assert not Attachment.objects.exists()
    assert [path for path in root.rglob("*") if path.is_file()] == []


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
