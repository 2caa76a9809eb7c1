"""Stays, titles, receipts and devices written past the journal: what is ignored and refused.

Which write causes which event is in test_triggers.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError

from messaging.models import Conversation, Membership, Message, Receipt
from presence.models import Device, User

Psql = psycopg.Connection[Any]
Heard = Callable[[], list[str]]
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


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
        assert world.numbers() == [1, 2]

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

    def test_a_stale_copy_does_not_take_back_up_to_where_changes_are_gone(
        self, world: Any, psql: Psql
    ) -> None:
        stale = Conversation.objects.get(pk=world.room.pk)
        psql.execute("UPDATE messaging_conversation SET purged_seq = 2")
        stale.title = "Hall"
        stale.save()
        stale.refresh_from_db()
        assert (stale.title, stale.purged_seq) == ("Hall", 2)

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
            "UPDATE messaging_receipt SET read = 1 WHERE conversation_id = %s AND device_id <> %s",
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
