"""Conversations that exist by rule rather than by request.

The `self` conversation of a user bears the user's own id. So two devices that register at the same
moment cannot make two of them, and nobody has to look it up.
"""

from typing import Any
from uuid import UUID

from django.db import transaction

from messaging.models import Conversation, Membership
from presence.models import Device


def ensure_self(user_id: UUID) -> Conversation:
    """Return the user's `self` conversation, made now if it is missing."""
    with transaction.atomic():
        conversation, created = Conversation.objects.get_or_create(
            id=user_id, defaults={"kind": Conversation.Kind.SELF}
        )
        if created:
            Membership.objects.create(conversation=conversation, user_id=user_id)
    return conversation


def welcome_device(*, device: Device, **_: Any) -> None:
    """Receive `device_registered`."""
    ensure_self(device.user_id)
