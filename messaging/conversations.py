"""Conversations whose ids follow from who asks: whoever asks twice, or two at once, get one.

The `self` conversation of a user bears the user's own id, the `direct` conversation of two users an
id made of both, a group that a device opens under a key an id made of both.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

from django.db import transaction

from messaging.models import Conversation, Membership
from presence.models import Device, User

# Any fixed values will do, but they can never change: existing pairs would get a second conversation.
DIRECT = UUID("6c6f636b-7374-4570-8000-646972656374")
GROUP = UUID("6c6f636b-7374-4570-8000-000067726f75")


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


def opened_as(device: UUID, client_id: str) -> UUID:
    """The id of the group that a device opens under a key of its own."""
    return uuid5(GROUP, f"{device} {client_id}")


def open_group(
    roles: Mapping[User, str], *, key: UUID | None, **values: Any
) -> tuple[Conversation, bool]:
    """Return the group of this id, a new one if it is None, and whether it was made now, with these members."""
    with transaction.atomic():
        if key is None:
            conversation, created = Conversation.objects.create(**values), True
        else:
            conversation, created = Conversation.objects.get_or_create(id=key, defaults=values)
        if created:
            Membership.objects.bulk_create(
                Membership(conversation=conversation, user=user, role=role)
                for user, role in roles.items()
            )
    return conversation, created


def welcome_device(*, device: Device, **_: Any) -> None:
    """Receive `device_registered`."""
    ensure_self(device.user_id)
