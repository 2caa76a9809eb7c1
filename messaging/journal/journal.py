"""The one writer of this process: whatever queued up while the last batch committed is the next one.

Laws: an answer follows the commit; a session's sends to one conversation commit in the order put,
so a retryable refusal takes everything behind it along; a conversation locked by someone else moves
to the slow lane with all its writes and never stops the others; a poison row fails alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import monotonic

import psycopg
from psycopg import errors as pg

from messaging import metrics, signals
from messaging.journal.batching import BATCH_ROWS, answer, batches_of, cut, sentence
from messaging.journal.writer import Entry, Outcome, Settle, Writer, target
from messaging.protocol.actions import Stored, Write
from messaging.protocol.errors import Refusal, Refused
from messaging.protocol.frames import Send

logger = logging.getLogger(__name__)

QUEUE_ROWS = 20_000
QUEUE_BYTES = 33_554_432
LOCK_TIMEOUT_MS = 50  # another process's batch commits well within it
SLOW_LOCK_TIMEOUT_MS = 1_000
OUTAGE_S = 5.0  # how long a batch waits for the database before its clients are told
RETRY_S = 0.05  # between two attempts to reach the database


class Journal:
    """Appends, amends and removes messages durably. Start it with `start`, stop it with `close`."""

    def __init__(self) -> None:
        self._writer = Writer("lockstep journal", lock_timeout_ms=LOCK_TIMEOUT_MS)
        self._slow_writer = Writer("lockstep slow lane", lock_timeout_ms=SLOW_LOCK_TIMEOUT_MS)
        self._queue: deque[Entry] = deque()
        self._slow: dict[str, deque[Entry]] = {}
        self._rows = self._bytes = 0
        self._most = (
            BATCH_ROWS  # in the next batch: halved by what can't be stored, doubled by a commit
        )
        self._work, self._slow_work = asyncio.Event(), asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._down_since: float | None = None
        self._last: Callable[[], None] | None = None  # announces and answers the last commit
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the lanes in the running event loop."""
        self._tasks = [
            asyncio.create_task(self._run(), name="journal"),
            asyncio.create_task(self._run_slow()),
        ]

    def put(self, device: str, frame: Write, settle: Settle) -> None:
        """Queue a write. `settle` is called once, synchronously, with its place or its refusal."""
        size = len(getattr(frame, "body", "")) + 200
        if self._closing:
            settle(Refused(Refusal.SHUTTING_DOWN))
        elif self._rows >= QUEUE_ROWS or self._bytes >= QUEUE_BYTES:  # whatever the size: in order
            settle(Refused(Refusal.OVERLOADED))
        else:
            self._rows += 1
            self._bytes += size
            self._queue.append(Entry(device, frame, settle, size))
            self._idle.clear()
            self._work.set()

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
        await self._idle.wait()

    async def close(self) -> None:
        """Stop the lanes and close their connections."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._writer.close()
        await self._slow_writer.close()

    # The fast lane

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            entries: Sequence[Entry] = self._take()
            if entries and self._slow:
                entries = await self._fast_changes(entries)
            if entries:
                await self._commit(entries)
            if not self._queue:
                self._finish_last()
                self._work.clear()

    def _take(self) -> list[Entry]:
        """The next batch."""
        if self._slow:
            self._queue = deque(self._fast_ones(self._queue))
        entries = cut(self._queue, most=self._most)
        for _ in entries:
            self._queue.popleft()
        return entries

    def _fast_ones(self, entries: Iterable[Entry]) -> list[Entry]:
        """What is left when writes to a conversation in the slow lane went there, behind the others."""
        fast: list[Entry] = []
        for entry in entries:
            lane = _lane(entry)
            if lane in self._slow:
                self._set_aside(entry, lane)
            else:
                fast.append(entry)
        return fast

    async def _fast_changes(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """The same for edits and deletions, which don't say where their message is.

        Each that met the lock would cost the others the lock time-out.
        """
        messages = {target(entry.frame) for entry in entries} - {""}
        if not messages:
            return entries
        self._finish_last()
        try:
            places = await self._writer.places(messages)
        except psycopg.Error:  # the batch finds out for itself
            return entries
        fast = []
        for entry in entries:
            place = places.get(target(entry.frame), "")
            if place in self._slow:
                self._set_aside(entry, place)
            else:
                fast.append(entry)
        return fast

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
                if self._outage(error, since=began):
                    self._refuse_everything(entries)
                    return
                entries = [entry._replace(in_doubt=True) for entry in entries]
                await asyncio.sleep(RETRY_S)
            except Exception as error:  # of the database, or text that has no encoding
                await self._split(entries, error, again=again)
                return
            else:
                self._down_since = None
                self._most = min(BATCH_ROWS, 2 * self._most)
                self._last = partial(self._finish, entries, outcomes)
                if skip_locked:  # its locked writes must be in the slow lane before more are taken
                    self._finish_last()
                return

    async def _append(self, entries: Sequence[Entry], *, skip_locked: bool) -> list[Outcome]:
        """Run a batch, and answer the last one while the database works on it."""
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

    async def _split(self, entries: Sequence[Entry], error: Exception, *, again: bool) -> None:
        """One row of the batch can't be stored: try half as many, until it stands alone.

        All go back to the queue, where a refusal of what they wait for finds them. A unique violation
        means that another process committed the key meanwhile: alone, the next look finds it, so it is
        tried once more.
        """
        if len(entries) > 1:
            self._queue.extendleft(reversed(entries))
            self._most = len(entries) // 2
        elif isinstance(error, pg.LockNotAvailable):
            self._set_aside(entries[0], _lane(entries[0]))
        elif isinstance(error, pg.UniqueViolation) and not again:
            await self._commit(entries, again=True)
        else:
            self._refuse_unstorable(entries, error)

    def _refuse_unstorable(self, entries: Sequence[Entry], error: Exception) -> None:
        logger.warning("a message was refused by the database: %s", sentence(error))
        self._refuse(entries, Refused(Refusal.STORAGE_REFUSED, sentence(error)))

    def _set_aside(self, entry: Entry, lane: str) -> None:
        self._slow.setdefault(lane, deque()).append(entry)
        self._slow_work.set()

    def _outage(self, error: Exception, *, since: float) -> bool:
        """Note that the database does not answer. Returns whether it has been away for too long."""
        if self._down_since is None:
            self._down_since = since  # of the attempt: a frozen database lets it wait for long
            logger.warning(
                "the database does not answer, the journal tries again: %s", sentence(error)
            )
        return monotonic() - self._down_since >= OUTAGE_S

    # The slow lane

    async def _run_slow(self) -> None:
        while True:
            await self._slow_work.wait()
            for conversation, lane in list(self._slow.items()):
                if lane:
                    await self._commit_slow(conversation)
            if not any(self._slow.values()):
                self._slow_work.clear()

    async def _commit_slow(self, conversation: str) -> None:
        """Wait for one locked conversation, at most for a second; then its writers are told that it is busy."""
        lane = self._slow[conversation]
        entries = cut(lane)
        began = monotonic()
        try:
            outcomes = await self._append_slowly(entries)
        except (pg.LockNotAvailable, pg.DeadlockDetected):
            self._refuse_lane(conversation, Refusal.BUSY)
            return
        except psycopg.OperationalError as error:
            if self._outage(error, since=began):
                self._refuse_lane(conversation, Refusal.DATABASE_UNAVAILABLE)
            else:
                for n, entry in enumerate(entries):
                    lane[n] = entry._replace(in_doubt=True)
            await asyncio.sleep(RETRY_S)
            return
        except Exception as error:
            entries = entries[:1]
            self._refuse_unstorable(entries, error)
        else:
            self._down_since = None
            entries = entries[: len(outcomes)]
            self._finish(entries, outcomes)
        for _ in entries:
            lane.popleft()
        if not lane:
            del self._slow[conversation]

    async def _append_slowly(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Commit the entries, or the first alone if one of them can't be stored. Raises if that is the first."""
        try:
            return await self._slow_writer.append(entries)
        except psycopg.OperationalError:
            raise
        except Exception:
            return await self._slow_writer.append(entries[:1])

    def _refuse_lane(self, conversation: str, refusal: Refusal) -> None:
        """Refuse what waits for a conversation, and what is queued behind it.

        The lane stays: until a write got through there, the next ones would only stop the others again.
        """
        refused, self._slow[conversation] = list(self._slow[conversation]), deque()
        kept = deque[Entry]()
        for entry in self._queue:
            (refused if _lane(entry) == conversation else kept).append(entry)
        self._queue = kept
        self._refuse(refused, Refused(refusal))

    # Answers

    def _finish(self, entries: Sequence[Entry], outcomes: Sequence[Outcome]) -> None:
        """Announce what was committed, then answer everyone; locked writes go to the slow lane."""
        batches = batches_of(entries, outcomes)
        metrics.batches.inc()
        metrics.queued.set(self._rows)
        if batches:
            signals.announce_messages(batches)
        for entry, outcome in zip(entries, outcomes, strict=True):
            if outcome.verdict == "locked" and outcome.conversation is not None:
                self._set_aside(entry, outcome.conversation)
            else:
                self._settle(entry, answer(outcome))
        self._note_idle()

    def _settle(self, entry: Entry, answer: Stored | Refused) -> None:
        self._rows -= 1
        self._bytes -= entry.size
        try:
            entry.settle(answer)
        except Exception:  # of one session; the lane goes on
            logger.exception("a write's answer was not taken")

    def _refuse(self, entries: Iterable[Entry], answer: Refused) -> None:
        for entry in entries:
            self._settle(entry, answer)
        self._note_idle()

    def _refuse_everything(self, entries: Sequence[Entry]) -> None:
        """The database is away: what was tried and what waits behind it, so that no later send overtakes.

        The slow lane finds out for itself: what it tries now is its own to answer.
        """
        waiting, self._queue = list(self._queue), deque()
        logger.error("the database is away; %d writes are refused", len(entries) + len(waiting))
        self._refuse([*entries, *waiting], Refused(Refusal.DATABASE_UNAVAILABLE))

    def _note_idle(self) -> None:
        if self._rows == 0:
            self._idle.set()


def _lane(entry: Entry) -> str:
    """Behind what a write waits if it is locked: its conversation or, as far as is known, its message."""
    return entry.frame.conversation if isinstance(entry.frame, Send) else entry.frame.message
