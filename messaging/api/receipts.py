"""Receipts of one message: which devices have it in its newest state, and which have read it.

Counted are the unrevoked devices, other than the sending one, of present members. An edit takes
the ticks back until it is acknowledged, because marks are compared with the message's `seq`.
"""

from typing import Any
from uuid import UUID

from django.db.models import Count, FilteredRelation, Q
from ninja import Router
from pydantic import Field

from messaging.api.access import present_in, still
from messaging.api.auth import DeviceRequest
from messaging.api.messages import message_for
from messaging.api.refusals import REFUSED, RefusalOut
from messaging.api.values import Shown, known_milliseconds
from messaging.models import Message
from messaging.protocol.errors import Refusal, Refused
from presence.models import Device

router = Router(tags=["messages"])

MARKS = 100  # devices above which only counts are told, as on the socket


class MarkOut(Shown):
    device: str
    user: str
    delivered: bool
    read: bool
    delivered_at: int | None = Field(
        description="When the device's mark last moved; null if behind."
    )
    read_at: int | None


class ReceiptsOut(Shown):
    devices: int
    delivered: int
    read: int
    marks: list[MarkOut] | None = Field(description="Null if there are more than 100 devices.")
    summary: str


@router.get("/messages/{message}/receipts", response={200: ReceiptsOut, REFUSED: RefusalOut})
def show_receipts(request: DeviceRequest, message: UUID) -> ReceiptsOut:
    """How many devices have the message's newest state, and how many have read it."""
    found = message_for(request, message)
    try:
        stay = present_in(found.conversation_id, request)
    except Refused:
        raise Refused(Refusal.NO_SUCH_MESSAGE) from None
    audience = _audience(found).filter(still(stay))
    counts = audience.aggregate(
        devices=Count("pk"),
        delivered=Count("pk", filter=Q(mark__delivered__gte=found.seq)),
        read=Count("pk", filter=Q(mark__read__gte=found.seq)),
    )
    few = counts["devices"] <= MARKS
    return ReceiptsOut(
        **counts, marks=_marks(audience, found) if few else None, summary=_summary(**counts)
    )


def _audience(message: Message) -> Any:
    """The devices that count, each with its `mark`. Any: the type plugin doesn't know the relation."""
    mark = FilteredRelation("receipts", condition=Q(receipts__conversation=message.conversation_id))
    devices = Device.objects.annotate(mark=mark).filter(
        user__memberships__conversation=message.conversation_id,
        user__memberships__left_seq=None,
        revoked=None,
    )
    return devices.exclude(pk=message.device_id) if message.device_id else devices


def _marks(audience: Any, message: Message) -> list[MarkOut]:
    columns = ("pk", "user", "mark__delivered", "mark__read", "mark__delivered_at", "mark__read_at")
    shown = []
    for device, user, *marks, delivered_at, read_at in audience.order_by("pk").values_list(
        *columns
    ):
        delivered, read = ((mark or 0) >= message.seq for mark in marks)
        shown.append(
            MarkOut(
                device=str(device),
                user=str(user),
                delivered=delivered,
                read=read,
                delivered_at=known_milliseconds(delivered_at) if delivered else None,
                read_at=known_milliseconds(read_at) if read else None,
            )
        )
    return shown


def _summary(*, devices: int, delivered: int, read: int) -> str:
    noun = "device" if devices == 1 else "devices"
    return f"delivered to {delivered} of {devices} {noun}, read by {read}"
