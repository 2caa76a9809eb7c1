"""What the tables themselves promise, whoever writes them."""

from typing import Any

import psycopg
import pytest
from django.db import IntegrityError, connection

from messaging.conversations import ensure_self
from messaging.models import Conversation, Epoch, Membership, Message
from presence.models import Device, User

Psql = psycopg.Connection[Any]

# What a writer must say; every other column has a default in the database itself.
REQUIRED = {
    "messaging_inbox": {"user_id"},
    "messaging_membership": {"conversation_id", "user_id"},
    "messaging_message": {"conversation_id"},
    "messaging_receipt": {"conversation_id", "device_id"},
    "presence_connection": {"device_id", "node_id"},
    "presence_status": {"user_id"},
    "presence_user": {"username"},
    "presence_device": {"user_id", "installation", "token_hash"},
    "messaging_conversation": set(),
    "messaging_epoch": set(),
    "presence_node": set(),
}


@pytest.mark.parametrize("table", REQUIRED)
def test_plain_sql_needs_to_name_only_what_cannot_be_guessed(
    transactional_db: None, table: str
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
            " AND column_default IS NULL AND is_nullable = 'NO'",
            [table],
        )
        assert {row[0] for row in cursor.fetchall()} == REQUIRED[table]


def test_a_user_inserted_by_name_alone_can_do_nothing_yet(transactional_db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO presence_user (username) VALUES ('ann')")
    ann = User.objects.get()
    assert (ann.is_active, ann.is_staff, ann.is_superuser) == (True, False, False)
    assert not ann.has_usable_password()


def test_ids_sort_in_the_order_they_were_made(transactional_db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT lockstep_uuid() FROM generate_series(1, 2000)")
        ids = [row[0] for row in cursor.fetchall()]
    assert ids == sorted(ids)
    assert {(made.version, made.variant) for made in ids} == {(7, "specified in RFC 4122")}
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("table", "moving"),
    [
        ("messaging_conversation", {"last_seq"}),
        ("messaging_receipt", {"delivered", "read", "delivered_at", "read_at", "changed"}),
        ("messaging_inbox", {"version"}),
    ],
)
def test_columns_that_move_all_the_time_touch_no_index(
    transactional_db: None, table: str, moving: set[str]
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT reloptions FROM pg_class WHERE relname = %s", [table])
        assert cursor.fetchone() == (["fillfactor=50"],)
        indexes = connection.introspection.get_constraints(cursor, table).values()
    indexed = {column for index in indexes if index["index"] for column in index["columns"]}
    assert not indexed & moving


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (Conversation, {"kind": "meeting"}),
        (Conversation, {"history": "some"}),
        (Membership, {"role": "owner"}),
        (Epoch, {"id": 2}),
    ],
)
def test_the_database_itself_refuses_unknown_words(
    world: Any, model: Any, values: dict[str, object]
) -> None:
    needed = {Membership: {"conversation": world.room, "user": world.bob}}.get(model, {})
    with pytest.raises(IntegrityError, match="check constraint"):
        model.objects.create(**needed, **values)


def test_a_client_id_is_used_once_per_device(world: Any) -> None:
    with pytest.raises(IntegrityError, match="messaging_message_device_client_id"):
        Message.objects.create(conversation=world.room, device=world.device, client_id="m1")


def test_a_user_has_one_self_conversation_that_bears_their_id(transactional_db: None) -> None:
    user = User.objects.create_user(username="ann")
    for _ in range(2):
        assert ensure_self(user.pk).pk == user.pk
    stay = Membership.objects.get(user=user)
    assert (stay.conversation.kind, stay.conversation_id) == ("self", user.pk)


def test_rows_say_what_they_are(world: Any) -> None:
    said = {
        str(row) for row in (world.room, world.device, world.stay, world.message, world.receipt)
    }
    assert {"Room", "phone", f"{world.ann.pk} in {world.room.pk}"} <= said
    assert str(Device(name="", installation="x")).startswith("device ")
