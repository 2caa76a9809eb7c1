"""Marks on their way into the database: coalesced per (device, conversation), stored, then announced.

Marks only rise, so the newest of each pair stands for all before it. The first is stored at once,
then whatever gathered, at most every 100 ms, and under load so seldom that marks stay a small part of
the work. A mark whose row somebody else holds locked waits alone. Those of a device that was revoked
meanwhile, or whose user may not act any more, are dropped: its session's end is the answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, TypeAlias

import msgspec
import psycopg
from psycopg.errors import LockNotAvailable

from messaging import metrics, signals
from messaging.journal.writer import STATEMENT_TIMEOUT_MS
from messaging.outage import Outage
from messaging.protocol.frames import DeviceMark, Mark
from presence import database
from presence.roster import with_users

logger = logging.getLogger(__name__)

PACE_S = 0.1
PACE_S_PER_MARK = (
    0.001  # storing one and showing it to ten devices costs about 50 us: at most 5 % of a core
)
RETRY_S = 0.25
LOCK_TIMEOUT_MS = 100  # other processes' marks are stored well within it

STORE = """
WITH asked AS MATERIALIZED (
    SELECT m.device, m.conversation, least(m.delivered, c.last_seq) AS delivered, least(m.read, c.last_seq) AS read,
           d.revoked IS NULL AND u.is_active AS active
      FROM json_to_recordset(%s::json) AS m (device uuid, conversation uuid, delivered bigint, read bigint)
      JOIN messaging_conversation c ON c.id = m.conversation
      JOIN presence_device d ON d.id = m.device
      JOIN {users} u ON u.id = d.user_id
), moved AS (
    INSERT INTO messaging_receipt AS r
           (device_id, conversation_id, delivered, read, delivered_at, read_at, changed)
    SELECT device, conversation, delivered, read, now(), CASE WHEN read > 0 THEN now() END, now()
      FROM asked WHERE active ORDER BY device, conversation
    ON CONFLICT (device_id, conversation_id) DO UPDATE
       SET delivered = greatest(r.delivered, excluded.delivered), read = greatest(r.read, excluded.read),
           delivered_at = CASE WHEN excluded.delivered > r.delivered THEN now() ELSE r.delivered_at END,
           read_at = CASE WHEN excluded.read > r.read THEN now() ELSE r.read_at END, changed = now()
     WHERE excluded.delivered > r.delivered OR excluded.read > r.read
    RETURNING r.*)
SELECT json_agg(json_build_array(m.conversation_id, m.device_id, d.user_id, m.delivered, m.read,
           (extract(epoch FROM m.delivered_at) * 1000)::bigint, (extract(epoch FROM m.read_at) * 1000)::bigint))::text,
       ARRAY(SELECT DISTINCT device::text FROM asked WHERE NOT active)
  FROM moved m JOIN presence_device d ON d.id = m.device_id
"""

# Which of these marks would wait for somebody's lock: on their own row or, if it is new, on those it refers to.
HELD = """
WITH asked AS MATERIALIZED (
    SELECT m.device, m.conversation, r.id AS receipt
      FROM json_to_recordset(%s::json) AS m (device uuid, conversation uuid)
      JOIN messaging_conversation c ON c.id = m.conversation
      JOIN presence_device d ON d.id = m.device
      LEFT JOIN messaging_receipt r ON r.device_id = m.device AND r.conversation_id = m.conversation
), known AS MATERIALIZED (
    SELECT r.id FROM messaging_receipt r WHERE r.id IN (SELECT receipt FROM asked)
       FOR NO KEY UPDATE SKIP LOCKED
), new AS MATERIALIZED (
    SELECT c.id AS conversation, d.id AS device
      FROM asked m JOIN messaging_conversation c ON c.id = m.conversation JOIN presence_device d ON d.id = m.device
     WHERE m.receipt IS NULL FOR KEY SHARE OF c, d SKIP LOCKED)
SELECT m.device::text, m.conversation::text FROM asked m
 WHERE NOT EXISTS (SELECT FROM known WHERE known.id = m.receipt)
   AND NOT EXISTS (SELECT FROM new WHERE new.device = m.device AND new.conversation = m.conversation)
"""

Key: TypeAlias = tuple[str, str]  # device and conversation
Marks: TypeAlias = dict[Key, tuple[int, int]]  # delivered and read
Waiting: TypeAlias = tuple[set[Key], Callable[[], None]]  # whom to tell once these are stored

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[tuple[str, str, str, int, int, int | None, int | None]]).decode


class Receipts:
    """Stores marks durably. Start it with `start`, stop it with `close`."""

    def __init__(self) -> None:
        self._marks: Marks = {}
        self._done: list[Waiting] = []
        self._ended: set[str] = set()  # devices whose marks are stored no more, in this round
        self._careful = (
            False  # some marks were left behind: find out which before the next are stored
        )
        self._work, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self._outage = Outage(logger, "marks can't be stored")

    def start(self) -> None:
        """Start storing in the running event loop."""
        self._task = asyncio.create_task(self._run(), name="receipts")

    def put(
        self, device: str, marks: Iterable[Mark], done: Callable[[], None] | None = None
    ) -> None:
        """Queue marks of a device; `done` is called once they are stored, never if the device may not act any more."""
        keys = set[Key]()
        for mark in marks:
            key = (device, mark.conversation)
            keys.add(key)
            self._raise(key, max(mark.delivered, mark.read), mark.read)
        if done is not None:
            self._done.append((keys, done))
        self._idle.clear()
        self._work.set()

    def _raise(self, key: Key, delivered: int, read: int) -> None:
        known = self._marks.get(key, (0, 0))
        self._marks[key] = (max(known[0], delivered), max(known[1], read))

    async def drain(self) -> None:
        """Wait until everything queued is stored."""
        await self._idle.wait()

    async def close(self) -> None:
        """Stop storing and close the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close()

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            began = monotonic()
            self._work.clear()
            marks, self._marks = self._marks, {}
            done, self._done = self._done, []
            self._ended.clear()
            left = await self._store(marks) if marks else {}
            self._finish(done, left)
            if left and len(left) == len(marks):
                await asyncio.sleep(RETRY_S)
            else:
                pace = max(PACE_S, PACE_S_PER_MARK * len(marks))
                await asyncio.sleep(pace - (monotonic() - began))

    def _finish(self, done: Iterable[Waiting], left: Marks) -> None:
        """Confirm what is stored; what is left goes back to those that came meanwhile."""
        for key, (delivered, read) in left.items():
            self._raise(key, delivered, read)
        self._careful = bool(left)
        for keys, tell in done:
            if not keys.isdisjoint(left):
                self._done.append((keys, tell))
            elif self._ended.isdisjoint(device for device, _ in keys):
                _tell(tell)
        if self._marks or self._done:
            self._work.set()
        else:
            self._idle.set()

    async def _store(self, marks: Marks) -> Marks:
        """Store and announce. Returns what could not be stored now; marks are state, so a repeat does no harm."""
        try:
            connection = await self._connected()
            with database.deadline(connection, STATEMENT_TIMEOUT_MS):
                held = await self._held(connection, marks) if self._careful else {}
                free = {key: mark for key, mark in marks.items() if key not in held}
                if free:
                    await self._write(connection, free)
        except LockNotAvailable:
            return await self._store_around(marks)
        except psycopg.Error as error:
            self._outage.met(error)
            return marks
        except Exception as error:  # of our own: marks are state, they may be stored twice
            self._outage.met(error, ours=True)
            return marks
        self._outage.over()
        return held

    async def _store_around(self, marks: Marks) -> Marks:
        """Somebody holds a lock: leave out what waits for it; if that can't be seen beforehand, try halves."""
        if not self._careful:
            self._careful = True
            return await self._store(marks)
        if len(marks) == 1:
            return marks
        items, half = list(marks.items()), len(marks) // 2
        return await self._store(dict(items[:half])) | await self._store(dict(items[half:]))

    async def _held(self, connection: psycopg.AsyncConnection[Any], marks: Marks) -> Marks:
        cursor = await connection.execute(HELD, (_rows(marks),))
        return {(device, place): marks[device, place] async for device, place in cursor}

    async def _write(self, connection: psycopg.AsyncConnection[Any], marks: Marks) -> None:
        with metrics.timed("marks"):
            cursor = await connection.execute(with_users(STORE).encode(), (_rows(marks),))
            row = await cursor.fetchone()
        assert row is not None
        metrics.marks.inc(len(marks))
        self._ended.update(row[1])
        if row[0] is not None:
            self._announce(row[0])

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await database.connect(
                "lockstep receipts",
                lockstep__writer="journal",
                synchronous_commit="on",
                lock_timeout=LOCK_TIMEOUT_MS,
                statement_timeout=STATEMENT_TIMEOUT_MS,
                enable_seqscan="off",
            )
        return self._connection

    def _announce(self, answer: str) -> None:
        moved: dict[str, list[DeviceMark]] = {}
        for conversation, device, user, delivered, read, delivered_at, read_at in _decode(answer):
            mark = DeviceMark(
                device=device,
                user=user,
                delivered=delivered,
                read=read,
                delivered_at=delivered_at,
                read_at=read_at,
            )
            moved.setdefault(conversation, []).append(mark)
        signals.announce_receipts(moved)


def _tell(done: Callable[[], None]) -> None:
    try:
        done()
    except Exception:  # of one session; the others wait for theirs
        logger.exception("a confirmation of marks was not taken")


def _rows(marks: Marks) -> str:
    rows = [
        {"device": device, "conversation": conversation, "delivered": delivered, "read": read}
        for (device, conversation), (delivered, read) in marks.items()
    ]
    return _encode(rows).decode()
