"""What the tests of the journal write with, and how they hear of it."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg.errors import LockNotAvailable

from messaging import signals
from messaging.journal.journal import Journal
from messaging.protocol.errors import Refused
from messaging.protocol.frames import Send
from messaging.protocol.server.actions import Write
from tests import scene
from tests.scene import Psql, Room

LOCK = "SELECT FROM messaging_conversation WHERE id = %s FOR UPDATE"


def send(room: Room, key: str, body: str = "", **more: Any) -> Send:
    return Send(conversation=room.id, client_id=key, body=body or key, **more)


@contextlib.contextmanager
def told(receiver: Any, signal: Any = signals.messages_committed, **to: Any) -> Iterator[None]:
    """Connect a receiver for as long as the block lasts."""
    signal.connect(receiver, weak=False, **to)
    try:
        yield
    finally:
        signal.disconnect(receiver, **to)


async def refusal(journal: Journal, device: str, frame: Write) -> Refused:
    with pytest.raises(Refused) as caught:
        await journal.submit(device, frame)
    return caught.value


async def code(journal: Journal, device: str, frame: Write) -> str:
    return (await refusal(journal, device, frame)).refusal.code


@contextlib.contextmanager
def refused_by_the_database(sql: Psql, body: str) -> Iterator[None]:
    """The database itself refuses messages with this body."""
    sql.execute(
        f"ALTER TABLE messaging_message ADD CONSTRAINT poison CHECK (body <> '{body}') NOT VALID"
    )
    try:
        yield
    finally:
        sql.execute("ALTER TABLE messaging_message DROP CONSTRAINT poison")


def count_lock_timeouts(journal: Journal) -> list[object]:
    """Grows with each batch of the fast lane that waited for a lock in vain."""
    met: list[object] = []
    append = journal._writer.append

    async def counting(entries: Any, **how: Any) -> Any:
        try:
            return await append(entries, **how)
        except LockNotAvailable as error:
            met.append(error)
            raise

    journal._writer.append = counting  # type: ignore[method-assign]
    return met


async def slow_lane_waits(sql: Psql) -> None:
    waiting = "application_name = 'lockstep slow lane' AND wait_event_type = 'Lock'"
    await scene.eventually(lambda: scene.count(sql, "pg_stat_activity", waiting))
