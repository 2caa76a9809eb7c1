"""Foreign programs at the database, all at once: writers, a bulk load, long transactions, heavy readers, hoarders.

They use plain SQL on connections of their own and know nothing of the server. Large statements,
so that the database is busy and not the rig.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import psycopg

from perf.rig.database import Connection

ROWS_AT_ONCE = 10  # of each conversation, in a writer's statement
COPIED_ROWS = 2_000  # of one bulk load
LOCK_S = 1.5  # how long a transaction holds its conversation: longer than a write waits
HOARDED_AT_ONCE = 20
FULL_S = 0.2  # between two looks for one that became free

INSERT = """
INSERT INTO messaging_message (conversation_id, body)
SELECT c, 'foreign ' || n FROM unnest(%(conversations)s::uuid[]) AS c, generate_series(1, %(rows)s) AS n
"""
UPDATE = """
UPDATE messaging_message SET body = body || '.'
 WHERE id IN (SELECT id FROM messaging_message WHERE conversation_id = %(conversation)s::uuid
                 AND body LIKE 'foreign%%' AND deleted IS NULL ORDER BY seq DESC LIMIT %(rows)s)
"""
COPY = "COPY messaging_message (conversation_id, body) FROM STDIN"
LOCK = "SELECT 1 FROM messaging_conversation WHERE id = %(conversation)s::uuid FOR UPDATE"
READ = """
SELECT count(*), max(h) FROM (
    SELECT md5(m.body || n.n) AS h FROM messaging_message m, generate_series(1, 20) AS n(n)
     WHERE m.conversation_id = ANY (%(conversations)s::uuid[]) ORDER BY h
) AS s
"""


class Foreigners:
    """What they did. `conversations` are where they write, lock and read, never anywhere else."""

    def __init__(self, url: str, *, conversations: Sequence[str], seed: int) -> None:
        self.done: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.connected = 0
        self.hoarded, self.full = 0, False  # connections, and whether there were no more
        self._url, self._conversations = url, conversations
        self._dice = random.Random(seed)

    async def write(self, going_on: Callable[[], bool]) -> None:
        """Insert into a few conversations, change what was inserted, over and over."""
        async with self._connected() as connection:
            while going_on():
                chosen = self._dice.sample(self._conversations, min(3, len(self._conversations)))
                rows = {"conversations": sorted(chosen), "rows": ROWS_AT_ONCE}
                await self._do("inserted", connection, INSERT, rows)
                one = {"conversation": chosen[0], "rows": ROWS_AT_ONCE}
                await self._do("updated", connection, UPDATE, one)

    async def load(self, going_on: Callable[[], bool]) -> None:
        """Copy many rows into one conversation at a time."""
        async with self._connected() as connection:
            while going_on():
                conversation = self._dice.choice(self._conversations)
                with self._counted():
                    async with connection.cursor() as cursor, cursor.copy(COPY) as copy:
                        for number in range(COPIED_ROWS):
                            await copy.write_row((conversation, f"foreign copy {number}"))
                    self.done["copied"] += COPIED_ROWS
                await asyncio.sleep(0.5)

    async def lock(self, going_on: Callable[[], bool]) -> None:
        """Hold a conversation in a transaction that takes its time."""
        async with self._connected() as connection:
            while going_on():
                conversation = self._dice.choice(self._conversations)
                with self._counted():
                    async with connection.transaction():
                        await connection.execute(LOCK, {"conversation": conversation})
                        self.done["long transactions"] += 1
                        await asyncio.sleep(LOCK_S)

    async def read(self, going_on: Callable[[], bool]) -> None:
        """Sort all that was said there, many times over."""
        async with self._connected() as connection:
            while going_on():
                facts = {"conversations": self._conversations}
                await self._do("heavy reads", connection, READ, facts)

    async def hoard(self, going_on: Callable[[], bool]) -> None:
        """Take every connection that is to be had, until it is over; whatever becomes free, too."""
        async with AsyncExitStack() as stack:
            while going_on():
                more = [
                    stack.enter_async_context(self._connected()) for _ in range(HOARDED_AT_ONCE)
                ]
                for end in await asyncio.gather(*more, return_exceptions=True):
                    if isinstance(end, psycopg.Error):
                        self.errors[_sentence(end)] += 1
                        self.full = True
                    else:
                        self.hoarded += 1
                if self.full:
                    await asyncio.sleep(FULL_S)

    async def _do(
        self, what: str, connection: Connection, statement: str, parameters: Mapping[str, object]
    ) -> None:
        with self._counted():
            cursor = await connection.execute(statement, parameters)
            self.done[what] += max(cursor.rowcount, 0)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        connection = await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, application_name="foreign", connect_timeout=10
        )
        self.connected += 1
        async with connection:
            yield connection

    def _counted(self) -> _Counted:
        return _Counted(self.errors)


class _Counted(suppress):
    """Counts database errors and goes on."""

    def __init__(self, errors: Counter[str]) -> None:
        super().__init__(psycopg.Error)
        self._errors = errors

    def __exit__(self, kind: object, error: object, traceback: object) -> bool:
        if isinstance(error, psycopg.Error):
            self._errors[_sentence(error)] += 1
            return True
        return False


def _sentence(error: psycopg.Error) -> str:
    """An error's kind: its numbers would make each one different."""
    state = error.sqlstate or "no answer"
    return f"{type(error).__name__} ({state})"
