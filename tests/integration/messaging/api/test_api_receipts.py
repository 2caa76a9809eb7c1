"""Receipts of a message over REST: whose devices have it, and when their marks moved."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from messaging.api import receipts
from messaging.api.access import present_in
from messaging.api.auth import DeviceRequest
from messaging.api.values import milliseconds
from messaging.models import Membership, Message, Receipt
from presence.models import Device

if TYPE_CHECKING:
    from tests.integration.messaging.api.conftest import Person

pytestmark = pytest.mark.usefixtures("transactional_db")


def said(person: Person, group: str, body: str = "hello") -> Message:
    message = Message.objects.create(conversation_id=group, device=person.device, body=body)
    message.refresh_from_db()
    return message


def mark(person: Person, group: str, *, delivered: int, read: int = 0) -> Receipt:
    receipt, _ = Receipt.objects.update_or_create(
        device=person.device,
        conversation_id=group,
        defaults={"delivered": delivered, "read": read},
    )
    receipt.refresh_from_db()
    return receipt


def test_who_is_removed_while_they_read_the_receipts_is_not_shown_who_reads_then(
    ann: Person, bob: Person, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = said(bob, group)

    def looked_up_before(conversation: UUID, request: DeviceRequest) -> Membership:
        stay = present_in(conversation, request)
        Membership.objects.filter(pk=stay.pk).update(left_seq=0)
        mark(ann, group, delivered=message.seq, read=message.seq)
        return stay

    monkeypatch.setattr(receipts, "present_in", looked_up_before)
    shown = bob.call("GET", f"/messages/{message.pk}/receipts").json
    assert (shown["read"], shown["marks"]) == (0, [])


def test_devices_that_have_and_have_read_a_message_are_counted_and_shown(
    ann: Person, bob: Person, group: str
) -> None:
    laptop, tablet = ann.another_device(), bob.another_device()
    message = said(ann, group)
    read = mark(bob, group, delivered=3, read=3)
    mark(laptop, group, delivered=3)
    mark(tablet, group, delivered=2, read=2)
    answer = ann.call("GET", f"/messages/{message.pk}/receipts").json
    assert answer["summary"] == "delivered to 2 of 3 devices, read by 1"
    assert (answer["devices"], answer["delivered"], answer["read"]) == (3, 2, 1)
    marks = {one["device"]: one for one in answer["marks"]}
    assert read.read_at is not None
    assert marks[str(bob.device.pk)]["read_at"] == milliseconds(read.read_at)
    assert marks[str(tablet.device.pk)] == {
        "device": str(tablet.device.pk),
        "user": bob.id,
        "delivered": False,
        "read": False,
        "delivered_at": None,
        "read_at": None,
    }


def test_the_sending_device_revoked_devices_and_former_members_do_not_count(
    ann: Person, bob: Person, cid: Person, group: str
) -> None:
    members = f"/conversations/{group}/members"
    ann.call("POST", members, {"user": cid.id})
    lost = bob.another_device()
    message = said(ann, group)
    for person in (ann, bob, cid, lost):
        mark(person, group, delivered=message.seq)
    Device.objects.filter(pk=lost.device.pk).update(revoked=datetime.now(UTC))
    ann.call("DELETE", f"{members}/{cid.id}")
    answer = ann.call("GET", f"/messages/{message.pk}/receipts").json
    assert answer["summary"] == "delivered to 1 of 1 device, read by 0"
    assert [one["device"] for one in answer["marks"]] == [str(bob.device.pk)]


def test_an_edit_takes_the_ticks_back(ann: Person, bob: Person, group: str) -> None:
    message = said(ann, group)
    mark(bob, group, delivered=message.seq, read=message.seq)
    Message.objects.filter(pk=message.pk).update(body="better")
    answer = ann.call("GET", f"/messages/{message.pk}/receipts").json
    assert answer["summary"] == "delivered to 0 of 1 device, read by 0"


def test_a_device_counts_once_however_often_its_user_came_back(
    ann: Person, bob: Person, group: str
) -> None:
    members = f"/conversations/{group}/members"
    bob.call("DELETE", f"{members}/{bob.id}")
    ann.call("POST", members, {"user": bob.id})
    message = said(ann, group)
    assert ann.call("GET", f"/messages/{message.pk}/receipts").json["devices"] == 1


def test_marks_in_other_conversations_do_not_count(ann: Person, bob: Person, group: str) -> None:
    other = bob.call("POST", "/conversations", {"members": [{"user": ann.id}]}).json["conversation"]
    mark(bob, other, delivered=2)
    message = Message.objects.filter(conversation_id=group).latest("seq")
    answer = ann.call("GET", f"/messages/{message.pk}/receipts").json
    assert (answer["devices"], answer["delivered"]) == (2, 0)


def test_a_message_of_no_device_counts_every_device(ann: Person, group: str) -> None:
    message = Message.objects.create(conversation_id=group, body="from psql")
    assert ann.call("GET", f"/messages/{message.pk}/receipts").json["devices"] == 2


def test_above_a_hundred_devices_only_counts_are_told(ann: Person, bob: Person, group: str) -> None:
    Device.objects.bulk_create(
        Device(user=bob.user, installation=str(n), token_hash=n.to_bytes(32, "big"))
        for n in range(100)
    )
    message = said(ann, group)
    answer = ann.call("GET", f"/messages/{message.pk}/receipts").json
    assert (answer["devices"], answer["marks"]) == (101, None)


def test_strangers_and_former_members_see_no_receipts(
    ann: Person, bob: Person, cid: Person, group: str
) -> None:
    message = said(ann, group)
    path = f"/messages/{message.pk}/receipts"
    assert cid.call("GET", path).code == "no_such_message"
    bob.call("DELETE", f"/conversations/{group}/members/{bob.id}")
    assert bob.call("GET", path).code == "no_such_message"
