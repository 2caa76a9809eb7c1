"""Promises that are not kept, and keys that are not honoured."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

import psycopg

from messaging.journal import writer
from messaging.journal.writer import Entry, Outcome, Writer
from messaging.protocol.frames import Send
from perf.sabotage.every import Every

FORGOTTEN = 12  # batches between two that are only said to be stored

UNIQUE = (
    "ALTER TABLE messaging_message DROP CONSTRAINT IF EXISTS messaging_message_device_client_id"
)
DEFINITION = "SELECT pg_get_functiondef('messaging_append'::regproc)"
KNOWN = "x.client_id = op.client_id LIMIT 1"  # how the function finds what is stored already

STALE = "op.gone OR op.version <> op.base_version THEN 'conflict'"


def ack() -> None:
    """Acknowledge every 12th batch of sends before it is committed, and crash before it is, so to say."""
    every, append = Every(FORGOTTEN), Writer.append
    newest: dict[str, int] = {}

    async def promise(
        self: Writer, entries: Sequence[Entry], *, skip_locked: bool = False
    ) -> list[Outcome]:
        every.count()
        known = all(_place(entry) in newest for entry in entries)
        if known and every.due():
            return [_forged(n, entry, newest) for n, entry in enumerate(entries)]
        outcomes = await append(self, entries, skip_locked=skip_locked)
        for outcome in outcomes:
            if outcome.conversation is not None and outcome.seq is not None:
                newest[outcome.conversation] = outcome.seq
        return outcomes

    Writer.append = promise  # type: ignore[method-assign]


def _place(entry: Entry) -> str:
    return entry.frame.conversation if isinstance(entry.frame, Send) else ""


def _forged(n: int, entry: Entry, newest: dict[str, int]) -> Outcome:
    """What the database would have said. As a repeat it is answered, but not announced."""
    place = _place(entry)
    seq = newest[place] + n + 1
    return Outcome(
        n=n,
        verdict="repeated",
        message=str(uuid4()),
        seq=seq,
        position=seq,
        version=1,
        created=int(time.time() * 1000),
        conversation=place,
        user=None,
        row=None,
    )


def idempotency() -> None:
    """Store whatever comes, whether its key is known or not.

    The database would refuse the second row, so its constraint goes: with the rig's own database.
    """
    _each_connection(_make_forgetful)


async def _make_forgetful(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.execute(UNIQUE)
    await _redefine(connection, KNOWN, f"false AND {KNOWN}")


def overwrite() -> None:
    """Let every edit and deletion through, whatever version it is based on."""
    _each_connection(_make_careless)


async def _make_careless(connection: psycopg.AsyncConnection[Any]) -> None:
    await _redefine(connection, STALE, "op.gone THEN 'conflict'")


def _each_connection(prepare: Callable[[psycopg.AsyncConnection[Any]], Awaitable[None]]) -> None:
    """Have every connection of a writer call a function of its own, which `prepare` makes."""
    connected = Writer._connected
    writer.APPEND = writer.APPEND.replace("messaging_append", "pg_temp.messaging_append")

    async def prepared(self: Writer) -> psycopg.AsyncConnection[Any]:
        known = self._connection
        connection = await connected(self)
        if connection is not known:
            await prepare(connection)
        return connection

    Writer._connected = prepared  # type: ignore[method-assign]


async def _redefine(connection: psycopg.AsyncConnection[Any], part: str, instead: str) -> None:
    """Make the connection's own `messaging_append`, with a part of it replaced."""
    row = await (await connection.execute(DEFINITION)).fetchone()
    assert row is not None
    definition = str(row[0])
    if part not in definition:
        raise RuntimeError(f"messaging_append has no {part!r} any more")
    definition = definition.replace(part, instead)
    definition = definition.replace("public.messaging_append", "pg_temp.messaging_append")
    await connection.execute(definition.encode())
