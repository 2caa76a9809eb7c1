"""Messages written past the journal: what is ignored, refused, numbered and left alone.

Which write causes which event is in test_triggers.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from messaging.models import Conversation, Message

Psql = psycopg.Connection[Any]
Heard = Callable[[], list[str]]
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


class TestInsertedMessage:
    def test_supplied_numbers_and_marks_of_a_change_are_ignored(self, world: Any) -> None:
        message = Message.objects.create(
            conversation=world.room, seq=77, position=78, version=9, change_id="x", edited=LONG_AGO
        )
        message.refresh_from_db()
        assert (message.seq, message.position, message.version) == (3, 3, 1)
        assert (message.change_id, message.edited) == (None, None)

    def test_a_supplied_creation_time_is_kept(self, world: Any) -> None:
        message = Message.objects.create(conversation=world.room, body="old", created=LONG_AGO)
        message.refresh_from_db()
        assert message.created == LONG_AGO

    def test_rows_of_one_statement_are_numbered_in_id_order_per_conversation(
        self, world: Any, psql: Psql, heard: Heard
    ) -> None:
        hall = Conversation.objects.create(title="Hall")
        heard()
        psql.execute(
            "INSERT INTO messaging_message (conversation_id, body)"
            " SELECT (ARRAY[%s, %s]::uuid[])[1 + i %% 2], i::text FROM generate_series(0, 999) AS i",
            [world.room.pk, hall.pk],
        )
        bodies = {
            room: list(
                room.messages.filter(kind="text").order_by("seq").values_list("body", flat=True)
            )
            for room in (world.room, hall)
        }
        assert bodies == {
            world.room: ["hello", *map(str, range(0, 1000, 2))],
            hall: list(map(str, range(1, 1000, 2))),
        }
        assert heard() == sorted([*world.groups("room"), f"conversation.{hall.pk}"])

    def test_above_a_hundred_groups_one_hint_stands_for_all(self, world: Any, heard: Heard) -> None:
        Conversation.objects.bulk_create(Conversation(title=str(i)) for i in range(101))
        rooms = list(Conversation.objects.exclude(pk=world.room.pk))
        heard()
        Message.objects.bulk_create(Message(conversation=room, body="x") for room in rooms[1:])
        assert len(heard()) == 100
        Message.objects.bulk_create(Message(conversation=room, body="x") for room in rooms)
        assert heard() == ["*"]

    def test_an_unknown_conversation_is_named(self, world: Any, psql: Psql) -> None:
        nowhere = uuid4()
        with pytest.raises(psycopg.errors.ForeignKeyViolation, match=f"no conversation {nowhere}"):
            psql.execute("INSERT INTO messaging_message (conversation_id) VALUES (%s)", [nowhere])

    @pytest.mark.parametrize("column", ["created", "deleted"])
    @pytest.mark.parametrize("date", ["infinity", "-infinity", "0044-03-15 BC", "10000-01-02"])
    def test_a_date_that_devices_could_not_show_is_refused(
        self, world: Any, psql: Psql, column: str, date: str
    ) -> None:
        with pytest.raises(psycopg.errors.RestrictViolation, match="has no date") as refused:
            psql.execute(
                f"INSERT INTO messaging_message (conversation_id, {column}) VALUES (%s, %s)",
                [world.room.pk, date],
            )
        assert "of the years 1 to 9999" in str(refused.value.diag.message_hint)
        assert world.numbers() == [1, 2]

    @pytest.mark.parametrize(
        ("kind", "body", "reason"),
        [
            ("system", "{}", "written by the database only"),
            ("data", "{", "json"),
            ("?", "", "kind"),
        ],
    )
    def test_a_body_that_devices_could_not_understand_is_refused(
        self, world: Any, psql: Psql, kind: str, body: str, reason: str
    ) -> None:
        with pytest.raises(psycopg.Error, match=reason):
            psql.execute(
                "INSERT INTO messaging_message (conversation_id, kind, body) VALUES (%s, %s, %s)",
                [world.room.pk, kind, body],
            )
        assert world.numbers() == [1, 2]


class TestUpdatedMessage:
    def test_supplied_identity_and_numbers_are_ignored(self, world: Any, psql: Psql) -> None:
        hall = Conversation.objects.create()
        psql.execute(
            "UPDATE messaging_message SET body = 'b', seq = 50, position = 51, version = 52, client_id = 'c',"
            " device_id = NULL, created = now(), conversation_id = %s, fingerprint = NULL, change_id = 'd'"
            " WHERE id = %s",
            [hall.pk, world.message.pk],
        )
        before, after = world.message, Message.objects.get(pk=world.message.pk)
        assert (after.seq, after.position, after.version, after.body) == (3, 2, 2, "b")
        for field in ("client_id", "device_id", "created", "conversation_id", "change_id"):
            assert getattr(after, field) == getattr(before, field), field
        assert bytes(after.fingerprint or b"") == bytes(before.fingerprint)

    def test_an_edit_is_dated_and_forgets_the_change_id_of_the_last_device(
        self, world: Any
    ) -> None:
        with connection.cursor() as journal:
            journal.execute("SET lockstep.writer = journal")
            journal.execute("UPDATE messaging_message SET change_id = 'e1' WHERE kind = 'text'")
            journal.execute("RESET lockstep.writer")
        Message.objects.filter(kind="text").update(body="b")
        world.message.refresh_from_db()
        assert world.message.change_id is None
        assert world.message.edited > world.message.created

    def test_rows_that_did_not_change_take_no_number_and_send_no_hint(
        self, world: Any, heard: Heard
    ) -> None:
        heard()
        world.message.save()
        Message.objects.update(body=F("body"))
        assert heard() == []
        assert world.numbers() == [1, 2]

    def test_a_deleted_message_is_a_tombstone_dated_by_the_database(self, world: Any) -> None:
        world.message.deleted = LONG_AGO
        world.message.save()
        world.message.refresh_from_db()
        assert (world.message.body, world.message.version, world.message.edited) == ("", 2, None)
        assert world.message.deleted > world.message.created

    @pytest.mark.parametrize(
        ("assignment", "hint"),
        [("deleted = NULL", "for ever"), ("body = 'back'", "deleted IS NULL")],
    )
    def test_a_tombstone_stays_one(
        self, world: Any, psql: Psql, assignment: str, hint: str
    ) -> None:
        world.message.delete()
        with pytest.raises(psycopg.errors.RestrictViolation, match=hint):
            psql.execute(f"UPDATE messaging_message SET {assignment} WHERE kind = 'text'")

    def test_deleting_again_changes_nothing(self, world: Any, psql: Psql, heard: Heard) -> None:
        stale = Message.objects.get(pk=world.message.pk)
        psql.execute("DELETE FROM messaging_message WHERE kind = 'text'")
        heard()
        psql.execute("DELETE FROM messaging_message WHERE kind = 'text'")
        stale.deleted = Now()
        stale.save()
        assert heard() == []
        assert world.numbers() == [1, 3]

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE messaging_message SET body = '{}' WHERE kind = 'system'",
            "UPDATE messaging_message SET kind = 'system' WHERE kind = 'text'",
            "DELETE FROM messaging_message WHERE kind = 'system'",
        ],
    )
    def test_system_messages_are_not_the_writers_to_change(
        self, world: Any, psql: Psql, statement: str
    ) -> None:
        with pytest.raises(psycopg.errors.RestrictViolation, match="HINT"):
            psql.execute(statement)

    def test_two_deletes_of_one_statement_are_both_numbered(self, world: Any, psql: Psql) -> None:
        other = Message.objects.create(conversation=world.room, body="other")
        psql.execute(
            "WITH a AS (DELETE FROM messaging_message WHERE id = %s)"
            " DELETE FROM messaging_message WHERE id = %s",
            [world.message.pk, other.pk],
        )
        assert world.numbers() == [1, 4, 5]
        assert Message.objects.filter(deleted=None, kind="text").count() == 0
