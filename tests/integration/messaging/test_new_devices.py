"""Where the feed of a new device begins."""

import pytest
from django.db import connection

from messaging.models import Conversation, Membership, Message, Receipt
from presence import tokens
from presence.models import User

pytestmark = pytest.mark.usefixtures("transactional_db")


def test_a_new_device_starts_at_the_last_change_as_of_its_registration() -> None:
    ann = User.objects.create(username="ann")
    room = Conversation.objects.create(title="room")
    room.refresh_from_db()
    Membership.objects.create(conversation=room, user=ann)
    Message.objects.create(conversation=room, body="before")
    device, _ = tokens.register(user=ann, installation="phone")
    Message.objects.create(conversation=room, body="after")
    mark = Receipt.objects.get(device=device, conversation=room)
    assert (mark.delivered, mark.read) == (2, 0)


def test_registering_again_leaves_the_marks_where_they_are() -> None:
    ann = User.objects.create(username="ann")
    room = Conversation.objects.create(title="room")
    room.refresh_from_db()
    Membership.objects.create(conversation=room, user=ann)
    device, _ = tokens.register(user=ann, installation="phone")
    Message.objects.create(conversation=room, body="later")
    tokens.register(user=ann, installation="phone")
    assert Receipt.objects.get(device=device, conversation=room).delivered == 1


def test_a_device_inserted_by_plain_sql_starts_there_too() -> None:
    ann = User.objects.create(username="ann")
    room = Conversation.objects.create(title="room")
    room.refresh_from_db()
    Membership.objects.create(conversation=room, user=ann)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO presence_device (user_id, installation, token_hash) VALUES (%s, 'x', 'x')",
            [ann.pk],
        )
    assert Receipt.objects.get(conversation=room).delivered == 1
