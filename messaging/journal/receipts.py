"""Marks on their way into the database: coalesced per (device, conversation), stored, then announced.

Marks only rise, so the newest of each pair stands for all before it. The first is stored at once,
then whatever gathered, at most every 50 ms, and under load so seldom that marks stay a small part of
the work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

import msgspec
import psycopg

from messaging import metrics, signals
from messaging.journal.writer import STATEMENT_TIMEOUT_MS
from messaging.protocol.frames import DeviceMark, Mark
from presence import database

logger = logging.getLogger(__name__)

PACE_S = 0.05
PACE_S_PER_MARK = (
    0.001  # storing one and showing it to ten devices costs about 50 us: at most 5 % of a core
)
RETRY_S = 0.25

STORE = """
WITH moved AS (
    INSERT INTO messaging_receipt AS r
           (device_id, conversation_id, delivered, read, delivered_at, read_at, changed)
    SELECT m.device, m.conversation, least(m.delivered, c.last_seq), least(m.read, c.last_seq), now(),
           CASE WHEN m.read > 0 THEN now() END, now()
      FROM json_to_recordset(%s::json) AS m (device uuid, conversation uuid, delivered bigint, read bigint)
      JOIN messaging_conversation c ON c.id = m.conversation
      JOIN presence_device d ON d.id = m.device
     ORDER BY m.device, m.conversation
    ON CONFLICT (device_id, conversation_id) DO UPDATE
       SET delivered = greatest(r.delivered, excluded.delivered), read = greatest(r.read, excluded.read),
           delivered_at = CASE WHEN excluded.delivered > r.delivered THEN now() ELSE r.delivered_at END,
           read_at = CASE WHEN excluded.read > r.read THEN now() ELSE r.read_at END, changed = now()
     WHERE excluded.delivered > r.delivered OR excluded.read > r.read
    RETURNING r.*)
SELECT json_agg(json_build_array(m.conversation_id, m.device_id, d.user_id, m.delivered, m.read,
           (extract(epoch FROM m.delivered_at) * 1000)::bigint, (extract(epoch FROM m.read_at) * 1000)::bigint))::text
  FROM moved m JOIN presence_device d ON d.id = m.device_id
"""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[tuple[str, str, str, int, int, int | None, int | None]]).decode


class Receipts:
    """Stores marks durably. Start it with `start`, stop it with `close`."""

    def __init__(self) -> None:
        self._marks: dict[tuple[str, str], tuple[int, int]] = {}
        self._done: list[Callable[[], None]] = []
        self._work, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start storing in the running event loop."""
        self._task = asyncio.create_task(self._run(), name="receipts")

    def put(
        self, device: str, marks: Iterable[Mark], done: Callable[[], None] | None = None
    ) -> None:
        """Queue marks of a device; `done` is called once they are stored."""
        for mark in marks:
            key = (device, mark.conversation)
            delivered, read = self._marks.get(key, (0, 0))
            self._marks[key] = (max(delivered, mark.delivered, mark.read), max(read, mark.read))
        if done is not None:
            self._done.append(done)
        self._idle.clear()
        self._work.set()

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
            if marks and not await self._store(marks):
                self._put_back(marks, done)
                await asyncio.sleep(RETRY_S)
                continue
            for tell in done:
                tell()
            if not self._marks and not self._done:
                self._idle.set()
            await asyncio.sleep(max(PACE_S, PACE_S_PER_MARK * len(marks)) - (monotonic() - began))

    async def _store(self, marks: dict[tuple[str, str], tuple[int, int]]) -> bool:
        """Store and announce. Returns whether it succeeded; marks are state, so a repeat does no harm."""
        rows = [
            {"device": device, "conversation": conversation, "delivered": delivered, "read": read}
            for (device, conversation), (delivered, read) in marks.items()
        ]
        try:
            if self._connection is None or self._connection.closed:
                self._connection = await database.connect(
                    "lockstep receipts",
                    lockstep__writer="journal",
                    synchronous_commit="on",
                    statement_timeout=STATEMENT_TIMEOUT_MS,
                    enable_seqscan="off",
                )
            with (
                metrics.timed("marks"),
                database.deadline(self._connection, STATEMENT_TIMEOUT_MS),
            ):
                cursor = await self._connection.execute(STORE, (_encode(rows).decode(),))
                row = await cursor.fetchone()
        except psycopg.Error as error:
            logger.warning("%d marks wait for the database: %s", len(marks), error)
            return False
        metrics.marks.inc(len(rows))
        if row is not None and row[0] is not None:
            self._announce(row[0])
        return True

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

    def _put_back(
        self, marks: dict[tuple[str, str], tuple[int, int]], done: list[Callable[[], None]]
    ) -> None:
        for (device, conversation), (delivered, read) in marks.items():
            self.put(device, [Mark(conversation=conversation, delivered=delivered, read=read)])
        self._done = done + self._done
        self._work.set()
