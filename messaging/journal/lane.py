"""The slow lane: writes to conversations that somebody else holds locked wait here, each behind its own.

Laws: as long as a conversation has a lane, all its writes come here, in order. One of the lanes, each in its turn,
waits in line for its lock; the others only look whether theirs is free. A lane whose writes
were refused stays for a while, empty: the repeats would only stop the others again. Then it ends; it
ends empty only, so nothing can overtake what it held.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from time import monotonic

import psycopg
from psycopg import errors as pg

from messaging.journal.batching import cut
from messaging.journal.settling import Settling
from messaging.journal.writer import Entry, Outcome, Writer
from messaging.protocol.errors import Refusal, Refused
from messaging.protocol.frames import Send

logger = logging.getLogger(__name__)

LOCKED_S = 1.0  # after which those who wait for a conversation are told that it is busy
LOCK_TIMEOUT_MS = 250  # of the one in line; another process's batch commits well within it
RETRY_S = 0.05  # between two attempts to reach the database
LINGER_S = 5.0  # of an empty lane: clients repeat what was `busy` after 1 to 1.5 s


class SlowLanes:
    """The lanes of all locked conversations. `recall` gives up what is queued for one elsewhere."""

    def __init__(self, settling: Settling, recall: Callable[[str], list[Entry]]) -> None:
        self._settling, self._recall = settling, recall
        self._writer = Writer("lockstep slow lane", lock_timeout_ms=LOCK_TIMEOUT_MS)
        self._lanes: dict[str, deque[Entry]] = {}
        self._since: dict[str, float] = {}  # when the first attempt began of those that meet a lock
        self._ends: dict[str, float] = {}  # when those that are empty end
        self._work = asyncio.Event()

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def __contains__(self, lane: str) -> bool:
        return lane in self._lanes

    def __iter__(self) -> Iterator[Entry]:
        """What waits."""
        return (entry for entries in self._lanes.values() for entry in entries)

    def put(self, entry: Entry, lane: str) -> None:
        """Have a write wait for its conversation, and everything that comes behind it."""
        self._lanes.setdefault(lane, deque()).append(entry)
        self._ends.pop(lane, None)
        self._work.set()

    def end_empty(self) -> None:
        """End the lanes in which nobody has written since they were refused, LINGER_S ago."""
        now = monotonic()
        for lane in [lane for lane, end in self._ends.items() if end <= now]:
            del self._lanes[lane], self._ends[lane]

    async def run(self) -> None:
        """Try one lane after the other, for ever."""
        for turn in count():
            await self._work.wait()
            waiting = [lane for lane, entries in self._lanes.items() if entries]
            for n, lane in enumerate(waiting):
                try:
                    await self._commit(lane, in_line=n == turn % len(waiting))
                except Exception:
                    logger.exception("the slow lane met an error of its own")
                    self._refuse(lane, Refusal.DATABASE_UNAVAILABLE)
            if not any(self._lanes.values()):
                self._work.clear()

    async def close(self) -> None:
        """Close the connection."""
        await self._writer.close()

    async def _commit(self, lane: str, *, in_line: bool) -> None:
        """Write what waits for one conversation, if it is free, or is within LOCK_TIMEOUT_MS."""
        waiting = self._lanes[lane]
        entries: Sequence[Entry] = cut(waiting)
        began = monotonic()
        self._since.setdefault(lane, began)
        try:
            outcomes = await self._append(entries, skip_locked=not in_line)
        except (pg.LockNotAvailable, pg.DeadlockDetected):
            self._met_lock(lane)
            return
        except psycopg.OperationalError as error:
            del self._since[lane]
            if self._settling.outage(error, since=began):
                self._refuse(lane, Refusal.DATABASE_UNAVAILABLE)
            else:
                for n, entry in enumerate(entries):
                    waiting[n] = entry._replace(in_doubt=True)
            await asyncio.sleep(RETRY_S)
            return
        except Exception as error:
            self._settling.refuse_unstorable(entries[0], error)
            self._advance(lane, 1)
        else:
            entries = entries[: len(outcomes)]
            self._advance(lane, len(entries), locked=self._finish(entries, outcomes))

    def _finish(self, entries: Sequence[Entry], outcomes: Sequence[Outcome]) -> Sequence[Entry]:
        """Answer what is done. Returns what is locked still."""
        if all(outcome.verdict == "locked" for outcome in outcomes):
            return entries
        return [entry for entry, _ in self._settling.finish(entries, outcomes)]

    def _advance(self, lane: str, tried: int, *, locked: Sequence[Entry] = ()) -> None:
        """Of the first that waited, only what is locked waits on."""
        waiting = self._lanes[lane]
        for _ in range(tried):
            waiting.popleft()
        waiting.extendleft(reversed(locked))
        if locked:
            self._met_lock(lane)
            return
        del self._since[lane]
        if not waiting:
            del self._lanes[lane]

    async def _append(self, entries: Sequence[Entry], *, skip_locked: bool) -> list[Outcome]:
        """Commit the entries, or the first alone if one of them can't be stored. Raises if that is the first."""
        try:
            return await self._writer.append(entries, skip_locked=skip_locked)
        except psycopg.OperationalError:
            raise
        except Exception:
            return await self._writer.append(entries[:1], skip_locked=skip_locked)

    def _met_lock(self, lane: str) -> None:
        """It is locked still: those who wait are told so once that has lasted."""
        if monotonic() - self._since[lane] >= LOCKED_S:
            self._refuse(lane, Refusal.BUSY)

    def _refuse(self, lane: str, refusal: Refusal) -> None:
        """Refuse what waits for a conversation, and what is queued behind it."""
        refused = [*self._lanes[lane], *self._recall(lane)]
        self._lanes[lane] = deque()
        self._since.pop(lane, None)
        self._ends[lane] = monotonic() + LINGER_S
        for entry in refused:
            why = Refusal.DATABASE_UNAVAILABLE if entry.in_doubt else refusal
            self._settling.refuse([entry], Refused(why))


def lane_of(entry: Entry) -> str:
    """Behind what a write waits if it is locked: its conversation or, as far as is known, its message."""
    return entry.frame.conversation if isinstance(entry.frame, Send) else entry.frame.message
