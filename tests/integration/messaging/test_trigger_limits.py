"""A message written past the journal is as small as one from a device, so that it fits its frame."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError

from messaging.models import Membership, Message
from messaging.protocol.frames import MAX_BODY_BYTES, MAX_FRAME_BYTES

Psql = psycopg.Connection[Any]

LARGEST = "x" * MAX_BODY_BYTES
TOO_LARGE = "ü" * (MAX_BODY_BYTES // 2) + "x"  # the limit is in bytes
REFUSAL = rf"has {MAX_BODY_BYTES + 1} bytes; the limit is {MAX_BODY_BYTES}"


def test_the_largest_body_of_the_protocol_is_stored(world: Any, psql: Psql) -> None:
    psql.execute("UPDATE messaging_message SET body = %s WHERE kind = 'text'", [LARGEST])
    made = Message.objects.create(conversation=world.room, body=LARGEST)
    assert Message.objects.filter(body=LARGEST).count() == 2
    made.delete()


def insert(psql: Psql, room: object) -> None:
    psql.execute(
        "INSERT INTO messaging_message (conversation_id, body) VALUES (%s, %s)", [room, TOO_LARGE]
    )


def copy(psql: Psql, room: object) -> None:
    statement = "COPY messaging_message (conversation_id, body) FROM STDIN"
    with psql.cursor().copy(statement) as rows:
        rows.write_row((room, TOO_LARGE))


def update(psql: Psql, room: object) -> None:
    psql.execute("UPDATE messaging_message SET body = %s WHERE kind = 'text'", [TOO_LARGE])


@pytest.mark.parametrize("write", [insert, copy, update])
def test_plain_sql_cannot_store_a_larger_one(
    world: Any, psql: Psql, write: Callable[[Psql, object], None]
) -> None:
    with pytest.raises(psycopg.errors.RestrictViolation, match=REFUSAL) as refused:
        write(psql, world.room.pk)
    hint = refused.value.diag.message_hint
    assert hint is not None
    assert hint.startswith("Store large content as a file")
    assert "\n" not in hint
    assert world.numbers() == [1, 2]


def test_the_orm_cannot_either(world: Any) -> None:
    with pytest.raises(IntegrityError, match=REFUSAL):
        Message.objects.bulk_create([Message(conversation=world.room, body=TOO_LARGE)])
    world.message.body = TOO_LARGE
    with pytest.raises(IntegrityError, match=REFUSAL):
        world.message.save()


def test_what_is_larger_from_earlier_can_still_be_deleted(world: Any, psql: Psql) -> None:
    psql.execute("SET lockstep.writer = 'journal'")
    psql.execute("UPDATE messaging_message SET body = %s WHERE kind = 'text'", [TOO_LARGE])
    psql.execute("RESET lockstep.writer")
    psql.execute("UPDATE messaging_message SET deleted = now() WHERE kind = 'text'")
    assert Message.objects.get(pk=world.message.pk).body == ""


def test_system_messages_are_far_below_the_limit(world: Any, psql: Psql) -> None:
    """Whatever a name or a title holds: six bytes for each character is JSON's worst."""
    psql.execute("UPDATE messaging_conversation SET title = repeat(chr(1), 200)")
    psql.execute("UPDATE presence_user SET username = repeat(chr(1), 150) WHERE username = 'bob'")
    Membership.objects.create(conversation=world.room, user=world.bob)
    sizes = psql.execute(
        "SELECT octet_length(body) FROM messaging_message WHERE kind = 'system' ORDER BY 1 DESC"
    ).fetchall()
    assert 1_000 < sizes[0][0] < MAX_BODY_BYTES // 32


def test_the_largest_body_at_its_longest_fits_a_frame() -> None:
    assert 6 * MAX_BODY_BYTES < MAX_FRAME_BYTES // 2
