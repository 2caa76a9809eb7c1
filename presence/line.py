"""One long-lived connection to the database, opened when it is needed, for one question at a time.

Every question is asked under `database.deadline`. Whoever was given up is told to go when the next
connection is made: a frozen server would otherwise still do what it was asked when it wakes up.
"""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg

from presence import database

# The server's end of a connection that we gave up: frozen, it would begin sessions when it wakes up.
DISOWN = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE pid = %s AND application_name = %s AND usename = current_user
"""

Rows = list[tuple[Any, ...]]


class Line:
    """A connection that is opened again whenever it broke. Every question may raise psycopg.Error."""

    def __init__(self, application: str, *, timeout_ms: int, **session: str | int) -> None:
        self.lock = asyncio.Lock()
        self._application, self._timeout_ms = application, timeout_ms
        self._session: dict[str, str | int] = {"statement_timeout": timeout_ms, **session}
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._backend: int | None = None  # the server's process behind it
        self._closed = False

    async def ask(self, statement: str, parameters: tuple[object, ...] = ()) -> Rows:
        """The rows of the answer, once every earlier question is answered."""
        async with self.lock:
            return await self.ask_now(statement, parameters)

    async def ask_now(self, statement: str, parameters: tuple[object, ...] = ()) -> Rows:
        """The rows of the answer; for who holds the lock."""
        if self._closed:
            raise psycopg.OperationalError(f"{self._application} is stopped")
        if self._connection is None or self._connection.closed:
            self._connection = await self._connect()
        with database.deadline(self._connection, self._timeout_ms):
            return await run(self._connection, statement, parameters)

    async def close(self) -> None:
        """Close the connection; who asks from now on is refused."""
        self._closed = True
        if self._connection is not None:
            await database.close(self._connection, self.lock)

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        made = await database.connect(self._application, **self._session)
        try:
            if self._backend is not None:
                with database.deadline(made, self._timeout_ms):
                    await run(made, DISOWN, (self._backend, self._application))
            if self._closed:
                raise psycopg.OperationalError(f"{self._application} is stopped")
        except BaseException:
            await made.close()
            raise
        self._backend = made.info.backend_pid
        return made


async def run(
    connection: psycopg.AsyncConnection[Any], statement: str, parameters: tuple[object, ...]
) -> Rows:
    """Carry out one statement and return its rows."""
    cursor = await connection.execute(statement.encode(), parameters)
    return await cursor.fetchall() if cursor.description else []
