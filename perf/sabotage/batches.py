"""Batches that are announced at the wrong time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg

from messaging.journal import writer
from messaging.journal.writer import Entry, Outcome, Writer
from perf.sabotage.every import Every

EARLY_S = 0.03  # between the announcement and the commit: what a slow disk takes
STALLED, STALL_S = 40, 0.15  # batches between two that are late, and how late


def early() -> None:
    """Announce a batch as soon as the database has numbered it, and commit it after."""
    append, begun = Writer._append, dict[int, asyncio.Task[None]]()
    writer.APPEND = writer.APPEND.removesuffix("; COMMIT")
    psycopg.AsyncClientCursor = _Hasty  # type: ignore[misc]

    async def announce_first(
        self: Writer,
        connection: psycopg.AsyncConnection[Any],
        entries: Sequence[Entry],
        *,
        skip_locked: bool,
    ) -> list[Outcome]:
        if (last := begun.pop(id(self), None)) is not None:
            await last
        outcomes = await append(self, connection, entries, skip_locked=skip_locked)
        begun[id(self)] = asyncio.create_task(_commit(connection))
        return outcomes

    Writer._append = announce_first  # type: ignore[method-assign]


class _Hasty(psycopg.AsyncClientCursor[Any]):
    """Says that everything was committed."""

    @property
    def statusmessage(self) -> str | None:
        """What the writer wants to hear."""
        return "COMMIT"


async def _commit(connection: psycopg.AsyncConnection[Any]) -> None:
    await asyncio.sleep(EARLY_S)
    await connection.execute("COMMIT")


def late() -> None:
    """Announce some batches long after their commit."""
    every, append = Every(STALLED), Writer.append

    async def announce_late(
        self: Writer, entries: Sequence[Entry], *, skip_locked: bool = False
    ) -> list[Outcome]:
        outcomes = await append(self, entries, skip_locked=skip_locked)
        every.count()
        if every.due():
            await asyncio.sleep(STALL_S)
        return outcomes

    Writer.append = announce_late  # type: ignore[method-assign]
