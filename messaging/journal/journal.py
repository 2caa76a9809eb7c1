"""The one writer of this process: whatever queued up while the last batch committed is the next one.

Laws: an answer follows the commit; a session's sends to one conversation commit in the order put,
so a retryable refusal takes everything behind it along; a conversation locked by someone else moves
to the slow lane (lane.py) with all its writes and never stops the others; a poison row fails alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from functools import partial
from itertools import takewhile
from time import monotonic

import psycopg
from psycopg import errors as pg

from messaging.journal.batching import BATCH_ROWS, cut
from messaging.journal.lane import RETRY_S, SlowLanes, lane_of
from messaging.journal.settling import Settling
from messaging.journal.turns import Turns
from messaging.journal.writer import Entry, Outcome, Settle, Writer, target
from messaging.protocol.errors import Refusal, Refused
from messaging.protocol.server.actions import Stored, Write
from presence.breaker import Breaker

logger = logging.getLogger(__name__)

QUEUE_ROWS = 20_000
QUEUE_BYTES = 33_554_432
SHARES = 8  # of the room that is left: a device may fill one
LOCK_TIMEOUT_MS = 50  # another process's batch commits well within it
# From the beginning of one batch to that of the next, unless so many writes wait that it pays anyway: a
# batch of one costs as much CPU as one of five, and a lone message is never held up.
PACE_S = 0.007
ENOUGH = 16  # writes
# What a statement may take before the next batch is half as large, and how small a slow disk may make it:
# a disk that takes so long for a commit takes it for any size.
LONG_S = 0.1
LEAST_ROWS = 125


class Journal:
    """Appends, amends and removes messages durably. Start it with `start`, stop it with `close`."""

    def __init__(self) -> None:
        self._writer = Writer("lockstep journal", lock_timeout_ms=LOCK_TIMEOUT_MS)
        self._queue = Turns()
        self._settling = Settling()
        self._slow = SlowLanes(self._settling, self._recall)
        # In the next batch: halved by what can't be stored or took long, doubled by a commit that did not.
        self._most = BATCH_ROWS
        self._work = asyncio.Event()
        self._closing = False
        self._began = 0.0  # the last batch, by the monotonic clock
        self._trying_since: float | None = None  # to commit a batch, by the monotonic clock
        self._last: Callable[[], None] | None = None  # announces and answers the last commit
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def queued(self) -> int:
        """How many writes are not answered."""
        return self._settling.rows

    @property
    def waiting_s(self) -> float:
        """For how many seconds the batch of now has been tried; 0 without one. The slow lane does not count."""
        return 0.0 if self._trying_since is None else monotonic() - self._trying_since

    @property
    def breaker(self) -> Breaker:
        """Whether writes get through. Whoever can wait, such as a session, asks it before `put`."""
        return self._settling.breaker

    @property
    def backlog(self) -> float:
        """The share (0 to 1) of what may wait that waits."""
        return max(self._settling.rows / QUEUE_ROWS, self._settling.bytes / QUEUE_BYTES)

    def start(self) -> None:
        """Start the lanes in the running event loop."""
        self._tasks = [
            asyncio.create_task(self._run(), name="journal"),
            asyncio.create_task(self._slow.run(), name="slow lane"),
        ]

    def put(self, device: str, frame: Write, settle: Settle) -> None:
        """Queue a write. `settle` is called once, synchronously, with its place or its refusal."""
        if self._closing:
            settle(Refused(Refusal.SHUTTING_DOWN))
        elif not self._has_room(device):
            settle(Refused(Refusal.OVERLOADED))  # whatever its size: those behind it are, too
        else:
            self._queue.append(self._settling.take(device, frame, settle))
            self._work.set()

    def _has_room(self, device: str) -> bool:
        """Whether what waits of the device is less than its share of the room that is left: who has little finds some.

        As switches share their memory (Choudhury and Hahne, Dynamic Queue Length Thresholds, 1998).
        """
        room = QUEUE_ROWS - self._settling.rows
        share = self._queue.waiting(device) * SHARES
        return share < room and self._settling.bytes < QUEUE_BYTES

    async def submit(self, device: str, frame: Write) -> Stored:
        """Write and wait for the commit. Raises Refused. Cancelling the caller does not cancel the write."""
        future: asyncio.Future[Stored | Refused] = asyncio.get_running_loop().create_future()

        def settle(outcome: Stored | Refused) -> None:
            if not future.done():
                future.set_result(outcome)

        self.put(device, frame, settle)
        outcome = await future
        if isinstance(outcome, Refused):
            raise outcome
        return outcome

    async def drain(self) -> None:
        """Refuse new writes and wait until everything queued is answered."""
        self._closing = True
        await self._settling.idle.wait()

    async def close(self) -> None:
        """Stop the lanes and close their connections. What is not answered is refused, its outcome unknown."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._finish_last()
        self._settling.refuse_all()
        await self._writer.close()
        await self._slow.close()

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            try:
                await self._gather()
                await self._next_batch()
            except Exception:
                logger.exception("the journal met an error of its own; what it held is refused")
                self._start_over()

    async def _gather(self) -> None:
        """Let more come, if few wait and the last batch has only just begun."""
        pause = self._began + PACE_S - monotonic()
        if pause > 0 and len(self._queue) < ENOUGH:
            self._finish_last()
            await asyncio.sleep(pause)
        self._began = monotonic()

    async def _next_batch(self) -> None:
        if entries := await self._take():
            self._trying_since = monotonic()
            try:
                await self._commit(entries)
            finally:
                self._trying_since = None
        if not self._queue:
            self._finish_last()
            self._work.clear()

    def _start_over(self) -> None:
        """Whatever went wrong, nobody waits for ever, and nothing overtakes what was refused."""
        self._finish_last()
        self._queue = Turns()
        self._work.clear()
        self._settling.refuse_all(but=self._slow)

    async def _take(self) -> list[Entry]:
        """The next batch, without what waits for a locked conversation: that goes to the slow lane, in order."""
        self._slow.end_empty()
        if not self._slow:
            return self._cut()
        places = await self._places()
        fast: list[Entry] = []
        for entry in self._cut(known=places):
            lane = places.get(target(entry.frame)) or lane_of(entry)
            if lane in self._slow:
                self._slow.put(entry, lane)
            else:
                fast.append(entry)
        return fast

    def _cut(self, *, known: Container[str] | None = None) -> list[Entry]:
        """Take a batch from the queue, and nothing from the first change on of a message that is not `known`."""
        entries = cut(self._queue.head(self._most), most=self._most)
        if known is not None:
            entries = list(takewhile(lambda e: not target(e.frame) or target(e.frame) in known, entries))  # fmt: skip
        self._queue.drop(len(entries))
        return entries

    async def _places(self) -> dict[str, str]:
        """The conversations of what the next batch edits or deletes; nothing for those that nobody knows.

        The frames don't say, and each that met the lock would cost the others the lock time-out. What is
        looked up stays in the queue meanwhile, where a refusal of what it waits for finds it.
        """
        head = cut(self._queue.head(self._most), most=self._most)
        messages = {target(entry.frame) for entry in head} - {""}
        places = dict.fromkeys(messages, "")
        if messages:
            self._finish_last()
            with suppress(psycopg.Error):  # the batch finds out for itself
                places |= await self._writer.places(messages)
        return places

    async def _commit(self, entries: Sequence[Entry], *, again: bool = False) -> None:
        """Commit a batch: retry what passes, split what can't be stored, never give up silently."""
        skip_locked = False
        while entries:
            began = monotonic()
            try:
                outcomes = await self._append(entries, skip_locked=skip_locked)
            except pg.LockNotAvailable as error:
                if skip_locked:  # no conversation, but a row behind one, such as the device's
                    await self._split(entries, error, again=again)
                    return
                skip_locked = True
            except (pg.DeadlockDetected, pg.SerializationFailure):
                continue
            except psycopg.OperationalError as error:
                if self._settling.outage(error, since=began):
                    self._refuse_everything(entries)
                    return
                entries = [entry._replace(in_doubt=True) for entry in entries]
                await asyncio.sleep(RETRY_S)
            except Exception as error:  # of the database, or text that has no encoding
                await self._split(entries, error, again=again)
                return
            else:
                self._adapt(len(entries), monotonic() - began)
                self._last = partial(self._finish, entries, outcomes)
                if skip_locked:  # its locked writes must be in the slow lane before more are taken
                    self._finish_last()
                return

    def _adapt(self, rows: int, took: float) -> None:
        """Make the next batch as large as the database stores in time."""
        if took > LONG_S:
            self._most = max(LEAST_ROWS, min(self._most, rows // 2))
        else:
            self._most = min(BATCH_ROWS, 2 * self._most)

    async def _append(self, entries: Sequence[Entry], *, skip_locked: bool) -> list[Outcome]:
        """Run a batch, and answer the last one, if there is one, while the database works on it."""
        if self._last is None:
            return await self._writer.append(entries, skip_locked=skip_locked)
        attempt = asyncio.ensure_future(self._writer.append(entries, skip_locked=skip_locked))
        try:
            await asyncio.sleep(0)  # it is sent now
            self._finish_last()
            return await attempt
        finally:
            if not attempt.done():  # only if we are cancelled
                attempt.cancel()
                await asyncio.gather(attempt, return_exceptions=True)

    def _finish_last(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last()

    def _finish(self, entries: Sequence[Entry], outcomes: Sequence[Outcome]) -> None:
        for entry, conversation in self._settling.finish(entries, outcomes):
            self._slow.put(entry, conversation)

    async def _split(self, entries: Sequence[Entry], error: Exception, *, again: bool) -> None:
        """One row of the batch can't be stored: try half as many, until it stands alone.

        All go back to the queue, where a refusal of what they wait for finds them. A unique violation
        means that another process committed the key meanwhile: alone, the next look finds it, so it is
        tried once more.
        """
        if len(entries) > 1:
            self._queue.put_back(entries)
            self._most = len(entries) // 2
        elif isinstance(error, pg.LockNotAvailable):
            self._slow.put(entries[0], lane_of(entries[0]))
        elif isinstance(error, pg.UniqueViolation) and not again:
            await self._commit(entries, again=True)
        else:
            self._settling.refuse_unstorable(entries[0], error)

    def _refuse_everything(self, entries: Sequence[Entry]) -> None:
        """The database is away: what was tried and what waits behind it, so that no later send overtakes.

        The slow lane finds out for itself: what it tries now is its own to answer.
        """
        waiting, self._queue = list(self._queue), Turns()
        logger.error("the database is away; %d writes are refused", len(entries) + len(waiting))
        self._settling.refuse([*entries, *waiting], Refused(Refusal.DATABASE_UNAVAILABLE))

    def _recall(self, lane: str) -> list[Entry]:
        """Take from the queue what is behind a lane that is refused, as far as it says where it belongs."""
        return self._queue.remove(lambda entry: lane_of(entry) == lane)
