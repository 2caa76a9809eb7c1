"""Lets messages go by age: first each becomes a tombstone, which every device is told; later tombstones go for real.

Laws: age counts from `created`; a conversation is looked through by `position`, as far as its first message that is
young. Numbers are never given again, so cursors stay valid; a device that was away since before a tombstone that
is gone starts the conversation anew (`Conversation.purged_seq`). A message whose own device has not
heard of its tombstone stays, since that device may send it once more, and it must not be stored twice.
"""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from messaging import tombstones
from messaging.tombstones import BATCH, Buried

ROOMS_AT_ONCE = 1_000  # ids of conversations fetched in one statement
PAGE_ROWS = 500  # messages looked at in one statement
FIRST = UUID(int=0)

ROOMS = "SELECT id FROM messaging_conversation WHERE id > %s ORDER BY id LIMIT %s"
PAGE = """
SELECT m.id, m.position, m.seq, m.created < now() - make_interval(secs => %(age)s), {wanted}
  FROM messaging_message m
 WHERE m.conversation_id = %(room)s AND m.position > %(after)s ORDER BY m.position LIMIT %(limit)s
"""
LIVES = "m.deleted IS NULL AND m.kind <> 'system'"
CONFIRMED = """
coalesce(m.deleted < now() - make_interval(secs => %(age)s), false)
    AND NOT EXISTS (SELECT FROM presence_device d LEFT JOIN messaging_receipt r
                        ON r.device_id = d.id AND r.conversation_id = m.conversation_id
                     WHERE d.id = m.device_id AND d.revoked IS NULL AND coalesce(r.delivered, 0) < m.seq)
"""
PURGE = "DELETE FROM messaging_message WHERE id = ANY (%s)"
RAISE = "UPDATE messaging_conversation SET purged_seq = greatest(purged_seq, %s) WHERE id = %s"


class Batch(NamedTuple):
    """Messages of one conversation, and the newest change among them."""

    room: UUID
    ids: list[UUID]
    top: int


def old(*, age: timedelta) -> Iterator[Batch]:
    """The messages that live and are older than this; whoever makes tombstones of them may go on asking."""
    return _batches(LIVES, age)


def gone(*, age: timedelta) -> Iterator[Batch]:
    """The tombstones older than this whose own devices have heard of them."""
    return _batches(CONFIRMED, age)


def let_go(*, age: timedelta) -> Buried:
    """Make tombstones of all messages older than this. Raises OperationalError, see `tombstones.bury`."""
    return tombstones.bury(batch.ids for batch in old(age=age))


def purge(*, age: timedelta) -> int:
    """Remove tombstones older than this for real; returns how many. Raises OperationalError, as `let_go`."""
    return sum(tombstones.in_turns(partial(_purge, batch) for batch in gone(age=age)))


def _purge(batch: Batch) -> int:
    """Numbers that devices have not passed yet go with the rows: the conversation remembers up to where."""
    with transaction.atomic(), connection.cursor() as cursor:
        tombstones.lock(batch.ids)
        cursor.execute(tombstones.PURGING)
        cursor.execute(RAISE, [batch.top, batch.room])
        cursor.execute(PURGE, [batch.ids])
        return int(cursor.rowcount)


def _batches(wanted: str, age: timedelta) -> Iterator[Batch]:
    for room in _rooms():
        after, more = 0, True
        while more:
            rows = _page(wanted, room=room, after=after, age=age.total_seconds())
            chosen = [row for row in rows if row[3] and row[4]]
            for start in range(0, len(chosen), BATCH):
                part = chosen[start : start + BATCH]
                yield Batch(room, [row[0] for row in part], max(row[2] for row in part))
            more = len(rows) == PAGE_ROWS and rows[-1][3]
            after = rows[-1][1] if rows else after


def _rooms() -> Iterator[UUID]:
    after = FIRST
    while True:
        with connection.cursor() as cursor:
            cursor.execute(ROOMS, [after, ROOMS_AT_ONCE])
            rooms = [row[0] for row in cursor.fetchall()]
        yield from rooms
        if len(rooms) < ROOMS_AT_ONCE:
            return
        after = rooms[-1]


def _page(
    wanted: str, *, room: UUID, after: int, age: float
) -> list[tuple[UUID, int, int, bool, bool]]:
    with connection.cursor() as cursor:
        asked: dict[str, Any] = {"room": room, "after": after, "age": age, "limit": PAGE_ROWS}
        cursor.execute(PAGE.format(wanted=wanted), asked)
        rows: list[tuple[UUID, int, int, bool, bool]] = cursor.fetchall()
        return rows
