"""The database as the rig sees it: plain SQL on a connection of its own, no model, no server code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec
import psycopg

from perf.history.events import AnyStored, Change, Stay, StoredConversation, StoredMark
from perf.history.recorder import details, digest, envelope, origin, shown_file

Connection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]

LAST_SEQS = "SELECT id::text, last_seq FROM messaging_conversation WHERE id = ANY (%s::uuid[])"
# The conversations that were asked for, and whatever else these users are or were in.
CONCERNED = """
SELECT conversation, max(since) FROM (
    SELECT s.conversation, s.since FROM unnest(%(starts)s::uuid[], %(since)s::bigint[]) AS s (conversation, since)
    UNION ALL
    SELECT conversation_id, 0 FROM messaging_membership WHERE user_id = ANY (%(users)s::uuid[])
) AS c GROUP BY conversation
"""
CHANGES = """
SELECT c.id::text, s.since, c.last_seq, c.history,
       m.seq, m.id::text, m.position, m.version, m.device_id::text, m.client_id, m.body,
       m.deleted IS NOT NULL, m.kind, m.reply_to_id::text,
       array(SELECT file FROM jsonb_array_elements(m.attachments) AS file), d.user_id::text,
       CASE WHEN isfinite(m.created) THEN (extract(epoch FROM m.created) * 1000)::bigint ELSE 0 END,
       CASE WHEN isfinite(m.edited) THEN (extract(epoch FROM m.edited) * 1000)::bigint ELSE 0 END,
       CASE WHEN isfinite(m.deleted) THEN (extract(epoch FROM m.deleted) * 1000)::bigint ELSE 0 END
  FROM unnest(%s::uuid[], %s::bigint[]) AS s (conversation, since)
  JOIN messaging_conversation c ON c.id = s.conversation
  LEFT JOIN messaging_message m ON m.conversation_id = c.id AND m.seq > s.since
  LEFT JOIN presence_device d ON d.id = m.device_id
 ORDER BY c.id, m.seq
"""
STAYS = """
SELECT conversation_id::text, user_id::text, joined_seq, left_seq FROM messaging_membership
 WHERE conversation_id = ANY (%s::uuid[]) ORDER BY conversation_id, joined_seq
"""
MARKS = """
SELECT conversation_id::text, device_id::text, delivered, read FROM messaging_receipt
 WHERE conversation_id = ANY (%s::uuid[]) ORDER BY conversation_id, device_id
"""
ROWS_AT_ONCE = 10_000  # of a stream: a few MB
DOOMED = """
SELECT array(SELECT id FROM presence_device WHERE user_id = ANY (%(users)s::uuid[])),
       array(SELECT conversation_id FROM messaging_membership WHERE user_id = ANY (%(users)s::uuid[]))
"""
# Whoever `provision` made has this address; others may be called the same.
NAMED = """
WITH made AS (
    SELECT id FROM presence_user
     WHERE username LIKE ANY (%(like)s) AND email = username || '@provision.invalid')
SELECT u.id::text, u.username, u.id IN (SELECT id FROM made), EXISTS (
    SELECT FROM messaging_membership s JOIN messaging_membership o USING (conversation_id)
     WHERE s.user_id = u.id AND o.user_id NOT IN (SELECT id FROM made))
  FROM presence_user u WHERE u.username LIKE ANY (%(like)s) ORDER BY u.username
"""
# The order respects the foreign keys; the flag permits what the triggers otherwise refuse.
ERASE = (
    "SELECT set_config('lockstep.purge', 'on', true)",
    "DELETE FROM messaging_receipt WHERE device_id = ANY (%(devices)s)",
    "DELETE FROM messaging_attachment WHERE device_id = ANY (%(devices)s)",
    "DELETE FROM messaging_message WHERE conversation_id = ANY (%(conversations)s)",
    "DELETE FROM messaging_membership WHERE conversation_id = ANY (%(conversations)s)",
    "DELETE FROM messaging_conversation WHERE id = ANY (%(conversations)s)",
    "DELETE FROM presence_connection WHERE device_id = ANY (%(devices)s)",
    "DELETE FROM presence_linkcode WHERE issuer_id = ANY (%(devices)s)",
    "DELETE FROM presence_device WHERE id = ANY (%(devices)s)",
    "DELETE FROM presence_status WHERE user_id = ANY (%(users)s::uuid[])",
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


async def is_standby(connection: Connection) -> bool:
    """Whether it follows another database, and may be behind it."""
    row = await (await connection.execute("SELECT pg_is_in_recovery()")).fetchone()
    return bool(row and row[0])


async def last_seqs(connection: Connection, conversations: Iterable[str]) -> dict[str, int]:
    """Where each conversation stands."""
    cursor = await connection.execute(LAST_SEQS, [list(conversations)])
    return {str(name): int(seq) for name, seq in await cursor.fetchall()}


async def final_reads(
    connection: Connection, starts: Mapping[str, int], users: Iterable[str]
) -> AsyncIterator[AnyStored]:
    """Everything that is stored of these conversations and of all that these users are or were in.

    `starts` says beyond which change a conversation matters; others matter from 0. All is of one
    snapshot, and streamed: no more than one conversation is in memory at a time.
    """
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        facts = {
            "starts": list(starts),
            "since": list(starts.values()),
            "users": list(users),
        }
        rows = await (await connection.execute(CONCERNED, facts)).fetchall()
        names, since = [str(row[0]) for row in rows], [row[1] for row in rows]
        async for conversation in _conversations(connection, names, since):
            yield conversation
        async for stay in _streamed(connection, STAYS, [names]):
            yield Stay(*stay)
        async for mark in _streamed(connection, MARKS, [names]):
            yield StoredMark(*mark)


async def _conversations(
    connection: Connection, names: Sequence[str], since: Sequence[int]
) -> AsyncIterator[StoredConversation]:
    facts: tuple[Any, ...] = ()
    changes: list[Change] = []
    async for row in _streamed(connection, CHANGES, [names, since]):
        if facts and row[0] != facts[0]:
            yield _conversation(facts, changes)
            changes = []
        facts = row[:4]
        if row[4] is not None:  # else the conversation has no change beyond its start
            changes.append(_change(row[4:]))
    if facts:
        yield _conversation(facts, changes)


def _conversation(facts: tuple[Any, ...], changes: Iterable[Change]) -> StoredConversation:
    name, since, last_seq, history = facts
    return StoredConversation(name, since, last_seq, history, tuple(changes))


def _change(row: tuple[Any, ...]) -> Change:
    seq, name, position, version, device, client_id, body, deleted, *rest = row
    kind, reply_to, files, user, created, edited, gone = rest
    return Change(
        *(seq, name, position, version, device, client_id),
        0 if deleted else digest(body),
        deleted,
        envelope(kind, reply_to, [file["id"] for file in files]),
        origin(user, created),
        details(edited, gone, [shown_file(file) for file in files]),
    )


async def _streamed(
    connection: Connection, statement: str, parameters: Sequence[object]
) -> AsyncIterator[tuple[Any, ...]]:
    async with connection.cursor(name="perf_final_reads") as cursor:
        cursor.itersize = ROWS_AT_ONCE
        await cursor.execute(statement, parameters)
        async for row in cursor:
            yield row


async def write_final_reads(
    connection: Connection, path: Path, *, starts: Mapping[str, int], users: Iterable[str]
) -> int:
    """Write the final reads as lines; return how many. Raises psycopg.Error, OSError."""
    encode, count = msgspec.json.Encoder().encode, 0
    with path.open("wb") as file:
        async for one in final_reads(connection, starts, users):
            file.write(encode(one) + b"\n")
            count += 1
    return count


class Named(NamedTuple):
    """A user by name. `made`: by `provision`. `shared`: it is or was in a conversation with others than those."""

    user: str
    name: str
    made: bool
    shared: bool


async def named(connection: Connection, prefixes: Iterable[str]) -> list[Named]:
    """The users whose names begin with one of these and a hyphen, as those of `provision` do."""
    like = [prefix.replace("_", r"\_").replace("%", r"\%") + "-%" for prefix in prefixes]
    cursor = await connection.execute(NAMED, {"like": like})
    return [Named(*row) for row in await cursor.fetchall()]


async def erase(connection: Connection, *, users: Sequence[str]) -> None:
    """Remove these users for good, with their devices and every conversation that they are in."""
    found = await (await connection.execute(DOOMED, {"users": users})).fetchone()
    devices, conversations = found or ([], [])
    facts = {"users": users, "devices": devices, "conversations": conversations}
    async with connection.transaction():
        for statement in ERASE:
            await connection.execute(statement, facts if "%(" in statement else None)
