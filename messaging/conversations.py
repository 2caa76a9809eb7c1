"""Conversations that exist by rule rather than by request.

The `self` conversation of a user bears the user's own id, the `direct` conversation of two users an
id made of both. So two devices that ask at the same moment cannot make two of them, and nobody has
to look it up.
"""

from typing import Any
from uuid import UUID, uuid5

from django.db import transaction

from messaging.models import Conversation, Membership
from presence.models import Device, User

# Any fixed value will do, but it can never change: existing pairs would get a second conversation.
DIRECT = UUID("6c6f636b-7374-4570-8000-646972656374")


def ensure_self(user_id: UUID) -> Conversation:
    """Return the user's `self` conversation, made now if it is missing."""
    with transaction.atomic():
        conversation, created = Conversation.objects.get_or_create(
            id=user_id, defaults={"kind": Conversation.Kind.SELF}
        )
        if created:
            Membership.objects.create(conversation=conversation, user_id=user_id)
    return conversation


def ensure_direct(one: User, other: User) -> tuple[Conversation, bool]:
    """Return the conversation of the two users, and whether it was made now."""
    pair = sorted([str(one.pk), str(other.pk)])
    with transaction.atomic():
        conversation, created = Conversation.objects.get_or_create(
            id=uuid5(DIRECT, " ".join(pair)), defaults={"kind": Conversation.Kind.DIRECT}
        )
        if created:
            Membership.objects.bulk_create(
                Membership(conversation=conversation, user=user) for user in (one, other)
            )
    return conversation, created


def welcome_device(*, device: Device, **_: Any) -> None:
    """Receive `device_registered`."""
    ensure_self(device.user_id)
