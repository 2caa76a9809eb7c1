"""The finer rules for writes past the journal: what is ignored, refused, ordered and made durable.

Which write causes which event is in test_triggers.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from messaging.models import Conversation, Epoch, Membership, Message, Receipt
from presence.models import Device, User

Psql = psycopg.Connection[Any]
Heard = Callable[[], list[str]]
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
MANY_LOCKS = 50  # conversations per statement; enough that unordered locks did deadlock


def sent_numbers(conversation: Conversation) -> list[int]:
    return list(
        Message.objects.filter(conversation=conversation)
        .order_by("seq")
        .values_list("seq", flat=True)
    )


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
        assert sent_numbers(world.room) == [1, 2]


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
        assert sent_numbers(world.room) == [1, 2]

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
        assert sent_numbers(world.room) == [1, 3]

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
        assert sent_numbers(world.room) == [1, 4, 5]
        assert Message.objects.filter(deleted=None, kind="text").count() == 0


class TestMembership:
    def test_the_stay_bears_the_numbers_of_its_system_messages(self, world: Any) -> None:
        stay = Membership.objects.create(
            conversation=world.room, user=world.bob, joined_seq=70, left_seq=71
        )
        stay.refresh_from_db()
        assert (stay.joined_seq, stay.left_seq) == (3, None)
        Message.objects.create(conversation=world.room, body="x")
        stay.left_seq = 99
        stay.save()
        stay.refresh_from_db()
        assert (stay.joined_seq, stay.left_seq) == (3, 5)

    def test_a_system_message_names_the_user_and_the_role(self, world: Any) -> None:
        Membership.objects.create(conversation=world.room, user=world.bob, role="admin")
        body = json.loads(world.room.messages.get(seq=3).body)
        assert body == {
            "event": "joined",
            "user": str(world.bob.pk),
            "name": "bob",
            "role": "admin",
        }

    def test_coming_back_is_a_new_stay(self, world: Any) -> None:
        world.stay.delete()
        Membership.objects.create(conversation=world.room, user=world.ann)
        stays = Membership.objects.filter(user=world.ann, conversation=world.room)
        assert list(stays.order_by("joined_seq").values_list("joined_seq", "left_seq")) == [
            (1, 3),
            (4, None),
        ]

    def test_a_user_cannot_be_present_twice(self, world: Any) -> None:
        with pytest.raises(IntegrityError, match="messaging_membership_present"):
            Membership.objects.create(conversation=world.room, user=world.ann)
        assert sent_numbers(world.room) == [1, 2]

    @pytest.mark.parametrize("assignment", ["left_seq = NULL", "role = 'admin'"])
    def test_a_stay_that_has_ended_is_frozen(self, world: Any, psql: Psql, assignment: str) -> None:
        world.stay.delete()
        with pytest.raises(psycopg.errors.RestrictViolation, match="insert a new membership"):
            psql.execute(f"UPDATE messaging_membership SET {assignment}")

    def test_ending_an_ended_stay_again_changes_nothing(
        self, world: Any, psql: Psql, heard: Heard
    ) -> None:
        world.stay.delete()
        heard()
        psql.execute("UPDATE messaging_membership SET left_seq = 1")
        psql.execute("DELETE FROM messaging_membership")
        assert heard() == []
        assert Membership.objects.get().left_seq == 3

    def test_a_stay_cannot_move_to_another_user(self, world: Any, psql: Psql) -> None:
        with pytest.raises(psycopg.errors.RestrictViolation, match="cannot move"):
            psql.execute("UPDATE messaging_membership SET user_id = %s", [world.bob.pk])

    def test_a_bulk_of_members_joins_in_order_with_one_hint_each(
        self, world: Any, heard: Heard
    ) -> None:
        User.objects.bulk_create(User(username=f"user{i}") for i in range(10))
        users = list(User.objects.filter(username__startswith="user"))
        heard()
        Membership.objects.bulk_create(
            Membership(conversation=world.room, user=user) for user in users
        )
        joined = Membership.objects.filter(user__in=users).order_by("id")
        assert [stay.joined_seq for stay in joined] == list(range(3, 13))
        assert heard() == sorted([*world.groups("room"), *(f"user.{user.pk}" for user in users)])


class TestConversation:
    def test_the_counter_is_not_the_writers_to_change(self, world: Any) -> None:
        stale = Conversation.objects.get(pk=world.room.pk)
        Message.objects.create(conversation=world.room)
        stale.save()
        Conversation.objects.create(last_seq=9)
        assert sorted(Conversation.objects.values_list("last_seq", flat=True)) == [0, 3]

    def test_the_kind_is_for_ever(self, world: Any, psql: Psql) -> None:
        with pytest.raises(psycopg.errors.RestrictViolation, match="kind cannot change"):
            psql.execute("UPDATE messaging_conversation SET kind = 'direct'")

    def test_an_empty_conversation_can_be_deleted(self, world: Any) -> None:
        Conversation.objects.create().delete()
        assert Conversation.objects.count() == 1


class TestReceipt:
    def test_marks_rise_together_and_never_regress(self, world: Any, heard: Heard) -> None:
        Receipt.objects.update(read=2, delivered=1)
        heard()
        Receipt.objects.update(read=1, delivered=0)
        world.receipt.refresh_from_db()
        assert (world.receipt.delivered, world.receipt.read) == (2, 2)
        assert heard() == []

    def test_times_are_those_of_the_last_move(self, world: Any) -> None:
        before = world.receipt
        Receipt.objects.update(changed=LONG_AGO, delivered_at=LONG_AGO)
        assert Receipt.objects.get().changed == before.changed
        Receipt.objects.update(read=1, delivered_at=LONG_AGO, read_at=LONG_AGO, changed=LONG_AGO)
        after = Receipt.objects.get()
        assert after.delivered_at == before.delivered_at
        assert after.read_at == after.changed > before.changed

    def test_marks_of_many_devices_in_one_conversation_are_one_hint(
        self, world: Any, psql: Psql, heard: Heard
    ) -> None:
        psql.execute(
            "INSERT INTO presence_device (user_id, installation, token_hash)"
            " SELECT %s, i::text, int4send(i) FROM generate_series(1, 101) AS i",
            [world.ann.pk],
        )
        heard()
        psql.execute(
            "INSERT INTO messaging_receipt (device_id, conversation_id, read)"
            " SELECT id, %s, 1 FROM presence_device WHERE id <> %s",
            [world.room.pk, world.device.pk],
        )
        assert heard() == world.groups("room")

    @pytest.mark.parametrize("column", ["delivered", "read"])
    def test_a_mark_beyond_the_last_number_is_refused(
        self, world: Any, psql: Psql, column: str
    ) -> None:
        with pytest.raises(psycopg.errors.RestrictViolation, match="beyond the last number 2"):
            psql.execute(f"UPDATE messaging_receipt SET {column} = 3")


class TestDevice:
    def test_revocation_is_for_ever_and_keeps_its_first_moment(
        self, world: Any, psql: Psql, heard: Heard
    ) -> None:
        psql.execute("UPDATE presence_device SET revoked = %s", [LONG_AGO])
        heard()
        psql.execute("UPDATE presence_device SET revoked = now()")
        assert heard() == []
        assert set(Device.objects.values_list("revoked", flat=True)) == {LONG_AGO}
        with pytest.raises(psycopg.errors.RestrictViolation, match="Register the device again"):
            psql.execute("UPDATE presence_device SET revoked = NULL")

    def test_a_device_cannot_change_its_owner(self, world: Any, psql: Psql) -> None:
        with pytest.raises(psycopg.errors.RestrictViolation, match="cannot change its owner"):
            psql.execute("UPDATE presence_device SET user_id = %s", [world.bob.pk])


class TestWriters:
    def test_the_journals_own_writes_pass_untouched(self, world: Any, heard: Heard) -> None:
        heard()
        with connection.cursor() as journal:
            journal.execute("SET lockstep.writer = journal")
            journal.execute(
                "INSERT INTO messaging_message (conversation_id, seq, position) VALUES (%s, 7, 7)",
                [world.room.pk],
            )
            journal.execute("RESET lockstep.writer")
        assert sent_numbers(world.room) == [1, 2, 7]
        assert heard() == []

    def test_after_a_trigger_the_session_is_as_foreign_as_before(
        self, world: Any, psql: Psql
    ) -> None:
        with psql.transaction():
            for verb in ("INSERT INTO messaging_message (conversation_id) VALUES (%s)",) * 2:
                psql.execute(verb, [world.room.pk])
            with pytest.raises(psycopg.errors.RestrictViolation), psql.transaction():
                psql.execute("DELETE FROM messaging_message")
            psql.execute("DELETE FROM messaging_membership")
            psql.execute("UPDATE messaging_message SET body = 'x' WHERE kind = 'text'")
        assert sent_numbers(world.room) == [1, 5, 6, 7, 8]

    def test_a_lazy_session_becomes_durable_before_it_is_visible(
        self, world: Any, psql: Psql
    ) -> None:
        psql.execute("SET synchronous_commit = off")
        with psql.transaction():
            psql.execute(
                "INSERT INTO messaging_message (conversation_id) VALUES (%s)", [world.room.pk]
            )
            assert psql.execute("SHOW synchronous_commit").fetchone() == ("on",)
        assert psql.execute("SHOW synchronous_commit").fetchone() == ("off",)

    def test_the_search_path_of_the_session_does_not_matter(self, world: Any, psql: Psql) -> None:
        psql.execute("SET search_path = ''")
        psql.execute(
            "INSERT INTO public.messaging_message (conversation_id) VALUES (%s)", [world.room.pk]
        )
        psql.execute("DELETE FROM public.messaging_membership")
        assert sent_numbers(world.room) == [1, 2, 3, 4]

    def test_writers_at_once_leave_no_hole_and_no_duplicate(self, world: Any, psql: Psql) -> None:
        def write(session: Psql) -> None:
            for _ in range(25):
                session.execute(
                    "INSERT INTO messaging_message (conversation_id) SELECT %s FROM generate_series(1, 4)",
                    [world.room.pk],
                )

        self.at_once(write)
        assert sent_numbers(world.room) == list(range(1, 403))

    def test_statements_over_the_same_conversations_do_not_deadlock(
        self, world: Any, psql: Psql
    ) -> None:
        Conversation.objects.bulk_create(Conversation() for _ in range(MANY_LOCKS))
        rooms = list(Conversation.objects.exclude(pk=world.room.pk).values_list("pk", flat=True))

        def write(session: Psql) -> None:
            for i in range(10):
                order: list[UUID] = rooms[:: -1 if i % 2 else 1]
                session.execute(
                    "INSERT INTO messaging_message (conversation_id) SELECT unnest(%s::uuid[])",
                    [order],
                )

        self.at_once(write)
        assert set(
            Conversation.objects.filter(pk__in=rooms).values_list("last_seq", flat=True)
        ) == {40}

    @staticmethod
    def at_once(write: Callable[[Psql], None]) -> None:
        params = connection.get_connection_params()
        for ours in ("cursor_factory", "context", "prepare_threshold"):
            params.pop(ours, None)

        def run(_: int) -> None:
            with psycopg.connect(**params, autocommit=True) as session:
                write(session)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(run, range(4)))


class TestPurge:
    def test_a_purge_deletes_for_good_and_clears_the_replies(self, world: Any, psql: Psql) -> None:
        reply = Message.objects.create(conversation=world.room, reply_to=world.message, body="re")
        psql.execute("SET lockstep.purge = on")
        psql.execute("DELETE FROM messaging_message WHERE id = %s", [world.message.pk])
        reply.refresh_from_db()
        assert (reply.reply_to_id, reply.seq, reply.version) == (None, 3, 1)
        assert sent_numbers(world.room) == [1, 3]

    def test_a_purge_can_remove_a_user_with_everything(self, world: Any, psql: Psql) -> None:
        psql.execute("SET lockstep.purge = on")
        for table in ("receipt", "message", "membership", "conversation", "inbox"):
            psql.execute(f"DELETE FROM messaging_{table}")
        psql.execute("DELETE FROM presence_device")
        psql.execute("DELETE FROM presence_user")
        assert User.objects.count() == 0

    def test_flush_empties_all_and_begins_a_new_epoch(self, world: Any, psql: Psql) -> None:
        before = Epoch.objects.get_or_create(pk=1)[0].value
        call_command("flush", interactive=False, verbosity=0)
        assert Message.objects.count() == 0
        assert Epoch.objects.get().value != before
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("TRUNCATE messaging_message CASCADE")
