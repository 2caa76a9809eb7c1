"""The database as the rig sees it: plain SQL on a connection of its own, no model, no server code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import psycopg

from perf.checkers import Row, Stored

Connection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]

LAST_SEQS = "SELECT id::text, last_seq FROM messaging_conversation WHERE id = ANY (%s::uuid[])"
ROWS = """
SELECT m.conversation_id::text, m.seq, m.id::text, m.device_id::text, m.client_id
  FROM unnest(%s::uuid[], %s::bigint[]) AS s (conversation, since)
  JOIN messaging_message m ON m.conversation_id = s.conversation AND m.seq > s.since
 ORDER BY m.conversation_id, m.seq
"""
DOOMED = """
SELECT array(SELECT id FROM presence_device WHERE user_id = ANY (%(users)s::uuid[])),
       array(SELECT conversation_id FROM messaging_membership WHERE user_id = ANY (%(users)s::uuid[]))
"""
# The order respects the foreign keys; the flag permits what the triggers otherwise refuse.
ERASE = (
    "SELECT set_config('lockstep.purge', 'on', true)",
    "DELETE FROM messaging_receipt WHERE device_id = ANY (%(devices)s)",
    "DELETE FROM messaging_message WHERE conversation_id = ANY (%(conversations)s)",
    "DELETE FROM messaging_membership WHERE conversation_id = ANY (%(conversations)s)",
    "DELETE FROM messaging_conversation WHERE id = ANY (%(conversations)s)",
    "DELETE FROM presence_connection WHERE device_id = ANY (%(devices)s)",
    "DELETE FROM presence_device WHERE id = ANY (%(devices)s)",
    "DELETE FROM messaging_inbox WHERE user_id = ANY (%(users)s::uuid[])",
    "DELETE FROM presence_user WHERE id = ANY (%(users)s::uuid[])",
)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection in autocommit mode. Raises psycopg.OperationalError."""
    connection = await psycopg.AsyncConnection.connect(
        url, autocommit=True, application_name="lockstep perf", connect_timeout=10
    )
    async with connection:
        yield connection


async def last_seqs(connection: Connection, conversations: Iterable[str]) -> dict[str, int]:
    """Where each conversation stands."""
    cursor = await connection.execute(LAST_SEQS, [list(conversations)])
    return {str(name): int(seq) for name, seq in await cursor.fetchall()}


async def stored(connection: Connection, starts: Mapping[str, int]) -> dict[str, Stored]:
    """Everything stored of these conversations beyond their `starts`."""
    ends = await last_seqs(connection, starts)
    found: dict[str, list[Row]] = {conversation: [] for conversation in ends}
    cursor = await connection.execute(ROWS, [list(starts), list(starts.values())])
    async for conversation, seq, message, device, client_id in cursor:
        found[conversation].append(Row(seq, message, device, client_id))
    return {name: Stored(last_seq=end, rows=found[name]) for name, end in ends.items()}


async def erase(connection: Connection, *, users: Sequence[str]) -> None:
    """Remove these users for good, with their devices and every conversation that they are in."""
    found = await (await connection.execute(DOOMED, {"users": users})).fetchone()
    devices, conversations = found or ([], [])
    facts = {"users": users, "devices": devices, "conversations": conversations}
    async with connection.transaction():
        for statement in ERASE:
            await connection.execute(statement, facts if "%(" in statement else None)
