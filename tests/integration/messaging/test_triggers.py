"""Every way to write past the journal, and the event it causes (guarantee G9).

One cell per {message, membership, title, receipt, device} x {INSERT, UPDATE, DELETE, COPY, cascade,
TRUNCATE} and way of writing; a cell states the new rows of the room's feed, the hints sent, and
whose inbox moved, or why the database refuses. The finer rules are in test_trigger_messages, _records and _writers.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import models
from django.db.models.functions import Now

from messaging.models import Conversation, Inbox, Membership, Message, Receipt
from presence.models import Device
from presence.tokens import new_token

Psql = psycopg.Connection[Any]
Act = Callable[[Any, Psql], object]

REVOKE = "UPDATE presence_device SET revoked = now() WHERE id = %s"
LEAVE = "UPDATE messaging_membership SET left_seq = 0 WHERE id = %s"
ADD_DEVICE = "INSERT INTO presence_device (user_id, installation, token_hash) VALUES (%s, 'i', %s)"
ADD_RECEIPT = "INSERT INTO messaging_receipt (device_id, conversation_id, read) VALUES (%s, %s, 2)"


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a write does: rows of the room's feed beyond number 2, hints sent, inboxes moved."""

    feed: tuple[tuple[int, int, str], ...] = ()  # (seq, position, what)
    hints: tuple[str, ...] = ()
    inbox: tuple[str, ...] = ()  # whose version rises by one
    refused: str | None = None  # or the part of the refusal that says how to mend it


def refused(mend: str) -> Effect:
    return Effect(refused=mend)


NOTHING = Effect()
ONE_NEW = Effect(feed=((3, 3, "new"),), hints=("room",))
TWO_NEW = Effect(feed=((3, 3, "new"), (4, 4, "newer")), hints=("room",))
EDITED = Effect(feed=((3, 2, "edited"),), hints=("room",))
DELETED = Effect(feed=((3, 2, "deleted"),), hints=("room",))
JOINED = Effect(feed=((3, 3, "joined bob member"),), hints=("room", "bob"), inbox=("bob",))
PROMOTED = Effect(feed=((3, 3, "role ann admin"),), hints=("room", "ann"), inbox=("ann",))
LEFT = Effect(feed=((3, 3, "left ann"),), hints=("room", "ann"), inbox=("ann",))
TITLED = Effect(feed=((3, 3, "title Hall"),), hints=("room",))
MARKED = Effect(hints=("room",))
DEVICE_OF_ANN = Effect(hints=("ann",), inbox=("ann",))
DEVICE_OF_BOB = Effect(hints=("bob",), inbox=("bob",))
DEVICES_OF_BOTH = Effect(hints=("ann", "bob"), inbox=("ann", "bob"))


def copy(table: str, *rows: dict[str, object]) -> Callable[[Psql], None]:
    def run(psql: Psql) -> None:
        columns = ", ".join(rows[0])
        with psql.cursor().copy(f"COPY {table} ({columns}) FROM STDIN") as stream:
            for row in rows:
                stream.write_row(list(row.values()))

    return run


def change(row: models.Model, **values: object) -> None:
    for name, value in values.items():
        setattr(row, name, value)
    row.save()


def bulk_change(row: models.Model, **values: object) -> None:
    for name, value in values.items():
        setattr(row, name, value)
    type(row)._default_manager.bulk_update([row], list(values))


def device_of_bob(world: Any) -> Device:
    return Device.objects.get(user=world.bob)


def device_row(world: Any) -> Device:
    return Device(user=world.ann, installation=str(uuid4()), token_hash=new_token()[1])


MESSAGE: dict[str, tuple[Act, Effect]] = {
    "message INSERT orm": (
        lambda w, p: Message.objects.create(conversation=w.room, body="new"),
        ONE_NEW,
    ),
    "message INSERT bulk_create": (
        lambda w, p: Message.objects.bulk_create(
            [Message(conversation=w.room, body=body) for body in ("new", "newer")]
        ),
        TWO_NEW,
    ),
    "message INSERT psql": (
        lambda w, p: p.execute(
            "INSERT INTO messaging_message (conversation_id, body) VALUES (%s, 'new')", [w.room.pk]
        ),
        ONE_NEW,
    ),
    "message COPY": (
        lambda w, p: copy(
            "messaging_message",
            {"conversation_id": w.room.pk, "body": "new"},
            {"conversation_id": w.room.pk, "body": "newer"},
        )(p),
        TWO_NEW,
    ),
    "message UPDATE save": (lambda w, p: change(w.message, body="edited"), EDITED),
    "message UPDATE queryset": (
        lambda w, p: w.room.messages.filter(body="hello").update(body="edited"),
        EDITED,
    ),
    "message UPDATE bulk_update": (lambda w, p: bulk_change(w.message, body="edited"), EDITED),
    "message UPDATE psql": (
        lambda w, p: p.execute(
            "UPDATE messaging_message SET body = 'edited' WHERE id = %s", [w.message.pk]
        ),
        EDITED,
    ),
    "message UPDATE deleted": (lambda w, p: change(w.message, deleted=Now()), DELETED),
    "message DELETE orm": (lambda w, p: w.message.delete(), DELETED),
    "message DELETE queryset": (lambda w, p: w.room.messages.filter(kind="text").delete(), DELETED),
    "message DELETE psql": (
        lambda w, p: p.execute("DELETE FROM messaging_message WHERE id = %s", [w.message.pk]),
        DELETED,
    ),
    "message cascade psql": (
        lambda w, p: p.execute("DELETE FROM messaging_conversation WHERE id = %s", [w.room.pk]),
        refused("Remove its members instead"),
    ),
    "message TRUNCATE": (
        lambda w, p: p.execute("TRUNCATE messaging_message CASCADE"),
        refused("manage.py flush"),
    ),
}

MEMBERSHIP: dict[str, tuple[Act, Effect]] = {
    "membership INSERT orm": (
        lambda w, p: Membership.objects.create(conversation=w.room, user=w.bob),
        JOINED,
    ),
    "membership INSERT bulk_create": (
        lambda w, p: Membership.objects.bulk_create([Membership(conversation=w.room, user=w.bob)]),
        JOINED,
    ),
    "membership INSERT psql": (
        lambda w, p: p.execute(
            "INSERT INTO messaging_membership (conversation_id, user_id) VALUES (%s, %s)",
            [w.room.pk, w.bob.pk],
        ),
        JOINED,
    ),
    "membership COPY": (
        lambda w, p: copy(
            "messaging_membership", {"conversation_id": w.room.pk, "user_id": w.bob.pk}
        )(p),
        JOINED,
    ),
    "membership UPDATE role save": (lambda w, p: change(w.stay, role="admin"), PROMOTED),
    "membership UPDATE role psql": (
        lambda w, p: p.execute("UPDATE messaging_membership SET role = 'admin'"),
        PROMOTED,
    ),
    "membership UPDATE left_seq save": (lambda w, p: change(w.stay, left_seq=1), LEFT),
    "membership UPDATE left_seq psql": (lambda w, p: p.execute(LEAVE, [w.stay.pk]), LEFT),
    "membership DELETE orm": (lambda w, p: w.stay.delete(), LEFT),
    "membership DELETE psql": (lambda w, p: p.execute("DELETE FROM messaging_membership"), LEFT),
    "membership cascade orm": (lambda w, p: w.ann.delete(), refused("protected foreign keys")),
    "membership cascade psql": (
        lambda w, p: p.execute("DELETE FROM presence_user WHERE id = %s", [w.ann.pk]),
        refused("Set is_active to false"),
    ),
    "membership TRUNCATE": (
        lambda w, p: p.execute("TRUNCATE messaging_membership"),
        refused("manage.py flush"),
    ),
}

TITLE: dict[str, tuple[Act, Effect]] = {
    "title INSERT orm": (lambda w, p: Conversation.objects.create(title="Hall"), NOTHING),
    "title COPY": (lambda w, p: copy("messaging_conversation", {"title": "Hall"})(p), NOTHING),
    "title UPDATE save": (lambda w, p: change(w.room, title="Hall"), TITLED),
    "title UPDATE queryset": (lambda w, p: Conversation.objects.update(title="Hall"), TITLED),
    "title UPDATE psql": (
        lambda w, p: p.execute("UPDATE messaging_conversation SET title = 'Hall'"),
        TITLED,
    ),
    "title DELETE orm": (lambda w, p: w.room.delete(), refused("protected foreign keys")),
    "title DELETE psql": (
        lambda w, p: p.execute("DELETE FROM messaging_conversation"),
        refused("lockstep.purge"),
    ),
    "title TRUNCATE": (
        lambda w, p: p.execute("TRUNCATE messaging_conversation CASCADE"),
        refused("manage.py flush"),
    ),
}

RECEIPT: dict[str, tuple[Act, Effect]] = {
    "receipt INSERT orm": (
        lambda w, p: Receipt.objects.create(conversation=w.room, device=device_of_bob(w), read=2),
        MARKED,
    ),
    "receipt INSERT psql": (
        lambda w, p: p.execute(ADD_RECEIPT, [device_of_bob(w).pk, w.room.pk]),
        MARKED,
    ),
    "receipt COPY": (
        lambda w, p: copy(
            "messaging_receipt",
            {"conversation_id": w.room.pk, "device_id": device_of_bob(w).pk, "read": 1},
        )(p),
        MARKED,
    ),
    "receipt UPDATE save": (lambda w, p: change(w.receipt, read=2), MARKED),
    "receipt UPDATE queryset": (lambda w, p: Receipt.objects.update(delivered=2), MARKED),
    "receipt UPDATE psql": (
        lambda w, p: p.execute("UPDATE messaging_receipt SET read = 1"),
        MARKED,
    ),
    "receipt DELETE orm": (lambda w, p: w.receipt.delete(), refused("Revoke the device")),
    "receipt DELETE psql": (
        lambda w, p: p.execute("DELETE FROM messaging_receipt"),
        refused("Revoke the device"),
    ),
    "receipt TRUNCATE": (
        lambda w, p: p.execute("TRUNCATE messaging_receipt"),
        refused("manage.py flush"),
    ),
}

DEVICE: dict[str, tuple[Act, Effect]] = {
    "device INSERT orm": (lambda w, p: device_row(w).save(), DEVICE_OF_ANN),
    "device INSERT bulk_create": (
        lambda w, p: Device.objects.bulk_create([device_row(w), device_row(w)]),
        DEVICE_OF_ANN,
    ),
    "device INSERT psql": (
        lambda w, p: p.execute(ADD_DEVICE, [w.ann.pk, new_token()[1]]),
        DEVICE_OF_ANN,
    ),
    "device COPY": (
        lambda w, p: copy(
            "presence_device",
            {"user_id": w.ann.pk, "installation": "i", "token_hash": new_token()[1]},
        )(p),
        DEVICE_OF_ANN,
    ),
    "device UPDATE revoked save": (lambda w, p: change(w.device, revoked=Now()), DEVICE_OF_ANN),
    "device UPDATE revoked queryset": (
        lambda w, p: Device.objects.update(revoked=Now()),
        DEVICES_OF_BOTH,
    ),
    "device UPDATE revoked psql": (lambda w, p: p.execute(REVOKE, [w.device.pk]), DEVICE_OF_ANN),
    "device UPDATE last_seen": (lambda w, p: change(w.device, last_seen=Now()), NOTHING),
    "device DELETE orm": (lambda w, p: w.device.delete(), refused("protected foreign keys")),
    "device DELETE psql": (
        lambda w, p: p.execute("DELETE FROM presence_device WHERE id = %s", [w.device.pk]),
        refused("Revoke it: UPDATE presence_device"),
    ),
    "device DELETE without history": (lambda w, p: device_of_bob(w).delete(), DEVICE_OF_BOB),
    "device cascade psql": (
        lambda w, p: p.execute("DELETE FROM presence_user WHERE id = %s", [w.bob.pk]),
        refused("revoke the devices"),
    ),
    "device TRUNCATE": (
        lambda w, p: p.execute("TRUNCATE presence_device CASCADE"),
        refused("manage.py flush"),
    ),
}


def describe(message: Message) -> str:
    if message.deleted:
        return f"deleted{message.body}"
    if message.kind != Message.Kind.SYSTEM:
        return message.body
    event = json.loads(message.body)
    facts = [event[key] for key in ("event", "name", "role", "title") if key in event]
    return " ".join(facts)


def inboxes() -> dict[str, int]:
    return {inbox.user.username: inbox.version for inbox in Inbox.objects.select_related("user")}


CELLS = MESSAGE | MEMBERSHIP | TITLE | RECEIPT | DEVICE


@pytest.mark.parametrize("cell", CELLS)
def test_a_write_past_the_journal_is_numbered_and_announced_or_refused(
    cell: str, world: Any, psql: Psql, heard: Callable[[], list[str]]
) -> None:
    act, effect = CELLS[cell]
    before = inboxes()
    heard()

    if effect.refused is None:
        act(world, psql)
    else:
        with pytest.raises(Exception, match=effect.refused):
            act(world, psql)

    feed = Message.objects.filter(conversation=world.room, seq__gt=2).order_by("seq")
    assert tuple((row.seq, row.position, describe(row)) for row in feed) == effect.feed
    world.room.refresh_from_db()
    assert world.room.last_seq == (effect.feed[-1][0] if effect.feed else 2)
    assert heard() == world.groups(*effect.hints)
    for name, version in inboxes().items():
        assert version - before.get(name, 0) == (1 if name in effect.inbox else 0), name
