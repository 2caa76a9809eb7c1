"""Erases a user: who they were, what they wrote, and what the database noted of them.

Laws: the order of conversations stays, and everybody's cursors stay valid: messages become tombstones of a user without a
name, and changes of membership keep their numbers. First nothing can be added (`presence.erasure`), then all goes in
small batches; whoever is interrupted starts again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from messaging.models import Attachment, Membership, Message, Receipt
from messaging.tombstones import (
    AS_JOURNAL,
    BATCH,
    PURGING,
    be_patient,
    bury_batch,
    drop,
    in_turns,
    lock,
)
from presence import erasure
from presence.models import Device

RECEIPTS = 500  # rows of marks in one transaction
SLICE = 2_000  # positions of a conversation looked at in one statement

LEAVE = "DELETE FROM messaging_membership WHERE id = %s AND left_seq IS NULL"
# Only system messages are JSON for certain: CASE keeps the others from being read as such.
NAMED = """
SELECT id FROM messaging_message
 WHERE conversation_id = %(room)s AND position > %(after)s AND position <= %(after)s + %(slice)s
   AND CASE WHEN kind = 'system' THEN body::jsonb->>'user' = %(user)s AND body::jsonb->>'name' <> %(name)s END
"""
RENAME = """
UPDATE messaging_message SET body = jsonb_set(body::jsonb, '{name}', to_jsonb(%s::text))::text,
       version = version + 1, seq = -nextval('messaging_placeholder') WHERE id = ANY (%s)
"""
AS_FOREIGN = "SET LOCAL lockstep.writer = ''"
NUMBER = "SELECT messaging_number(%s)"
FORGET = "DELETE FROM messaging_receipt WHERE id = ANY (%s)"


@dataclass(frozen=True, kw_only=True)
class Traces:
    """How much there is of a user."""

    devices: int
    conversations: int
    messages: int
    files: int


def traces(user: UUID) -> Traces:
    """Count what `erase` would empty or end; nothing, once it is done."""
    mine = Q(device__user=user)
    return Traces(
        devices=Device.objects.filter(user=user).exclude(name="", revoked__isnull=False).count(),
        conversations=Membership.objects.filter(user=user, left_seq=None).count(),
        messages=Message.objects.filter(mine, deleted=None).count(),
        files=Attachment.objects.filter(mine).count(),
    )


def erase(user: UUID) -> None:
    """Erase a user. Raises OperationalError if a conversation stays locked: what was done is done; RuntimeError inside of a transaction."""
    erasure.forget(user)
    for _ in in_turns(_steps(user)):
        pass


def _steps(user: UUID) -> Iterator[Callable[[], object]]:
    """One transaction each; what the next one is to do is looked up when it is its turn."""
    for stay in Membership.objects.filter(user=user, left_seq=None).values_list("pk", flat=True):
        yield partial(_leave, stay)
    for ids in _namings(user):
        yield partial(_rename, ids, erasure.nobody(user))
    for device in Device.objects.filter(user=user).values_list("pk", flat=True):
        while ids := _first(_written(device), BATCH):
            yield partial(bury_batch, ids, wholly=True)
        files = Attachment.objects.filter(device=device).values_list("pk", "file", "sha256")
        while file := files.first():
            yield partial(drop, *file)
        while ids := _first(Receipt.objects.filter(device=device), RECEIPTS):
            yield partial(_forget_marks, ids)


def _leave(stay: UUID) -> None:
    """End a stay; the conversation says so, under the name of nobody."""
    with transaction.atomic(), connection.cursor() as cursor:
        be_patient()
        cursor.execute(LEAVE, [stay])


def _namings(user: UUID) -> Iterator[list[UUID]]:
    """The system messages that call the user by a name."""
    stays = Membership.objects.filter(user=user)
    for room, last in stays.values_list("conversation", "conversation__last_seq").distinct():
        for after in range(0, last + 1, SLICE):
            asked: dict[str, Any] = {"room": room, "after": after, "slice": SLICE}
            asked |= {"user": str(user), "name": erasure.nobody(user)}
            with connection.cursor() as cursor:
                cursor.execute(NAMED, asked)
                ids = [row[0] for row in cursor.fetchall()]
            if ids:
                yield ids


def _rename(ids: list[UUID], name: str) -> None:
    """Change the name in system messages, as changes that devices are told; no fence moves for anybody else."""
    with transaction.atomic(), connection.cursor() as cursor:
        lock(ids)
        cursor.execute(AS_JOURNAL)
        cursor.execute(RENAME, [name, ids])
        cursor.execute(AS_FOREIGN)
        cursor.execute(NUMBER, [ids])


def _written(device: UUID) -> QuerySet[Message]:
    """What a device wrote and is not yet a tombstone without keys; the index has those without keys last."""
    lives = Q(deleted=None) | Q(client_id__isnull=False) | Q(fingerprint__isnull=False)
    mine = Message.objects.filter(lives | Q(change_id__isnull=False), device=device)
    return mine.exclude(kind=Message.Kind.SYSTEM).order_by("client_id")


def _forget_marks(ids: list[UUID]) -> None:
    """Receipts tell when somebody was there: they go for real."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(PURGING)
        cursor.execute(FORGET, [ids])


def _first(rows: QuerySet[Any], count: int) -> list[UUID]:
    return list(rows.values_list("pk", flat=True)[:count])
