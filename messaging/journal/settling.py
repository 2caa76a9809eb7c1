"""The writes of the journal that are not answered yet, and how they come to their answers.

Laws: each is answered once, whatever goes wrong; what is committed is announced first. Where the
outcome is not known the answer says so: repeated with the same client_id, the write is done once.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterable, Sequence
from itertools import count
from time import monotonic

from messaging import metrics, signals
from messaging.journal.batching import answer, batches_of, sentence
from messaging.journal.writer import Entry, Outcome, Settle
from messaging.protocol.errors import Refusal, Refused
from messaging.protocol.server.actions import Stored, Write
from presence.breaker import Breaker

logger = logging.getLogger(__name__)

FILE_BYTES = 400  # of one file in a message as devices see it, with a name of ordinary length


class Settling:
    """What is open, in number and bytes; `idle` is set while nothing is.

    `breaker` opens when writes have failed for so long that those who wait for them are told.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self._open: dict[int, Entry] = {}
        self._numbers = count(1)
        self.breaker = Breaker()

    @property
    def rows(self) -> int:
        """How many writes are not answered."""
        return len(self._open)

    def take(self, device: str, frame: Write, settle: Settle) -> Entry:
        """Note a write that is to be answered."""
        size = sys.getsizeof(getattr(frame, "body", "")) + 200
        if files := getattr(frame, "attachments", None):
            size += FILE_BYTES * len(files)
        entry = Entry(device, frame, settle, size, number=next(self._numbers), since=monotonic())
        self._open[entry.number] = entry
        self.bytes += size
        self.idle.clear()
        return entry

    def finish(
        self, entries: Sequence[Entry], outcomes: Sequence[Outcome]
    ) -> list[tuple[Entry, str]]:
        """Announce what was committed, then answer everyone. Returns what was locked, and its conversation."""
        self.breaker.succeeded()
        try:
            return self._finish(entries, outcomes)
        except Exception:  # an error of our own: nobody waits for ever, the lane goes on
            logger.exception("what a batch became could not be told")
            self.refuse(entries, Refused(Refusal.DATABASE_UNAVAILABLE))
            return []

    def _finish(
        self, entries: Sequence[Entry], outcomes: Sequence[Outcome]
    ) -> list[tuple[Entry, str]]:
        batches = batches_of(entries, outcomes)
        metrics.batches.inc()
        metrics.batch_writes.observe(len(entries))
        metrics.write_seconds.observe(monotonic() - min(entry.since for entry in entries))
        if batches:
            signals.announce_messages(batches)
        locked = []
        for entry, outcome in zip(entries, outcomes, strict=True):
            if outcome.verdict == "locked" and outcome.conversation is not None:
                locked.append((entry, outcome.conversation))
            else:
                self._settle(entry, answer(entry, outcome))
        return locked

    def _settle(self, entry: Entry, answer: Stored | Refused) -> None:
        if self._open.pop(entry.number, None) is None:
            return  # answered already
        self.bytes -= entry.size
        try:
            entry.settle(answer)
        except Exception:  # of one session; the lane goes on
            logger.exception("a write's answer was not taken", extra={"device": entry.device})
        if not self._open:
            self.idle.set()

    def refuse(self, entries: Iterable[Entry], answer: Refused) -> None:
        """Refuse those that are not answered."""
        for entry in entries:
            self._settle(entry, answer)

    def refuse_unstorable(self, entry: Entry, error: Exception) -> None:
        """Refuse what the database will never take."""
        about = {"device": entry.device, "conversation": getattr(entry.frame, "conversation", None)}
        logger.warning("a message was refused by the database: %s", sentence(error), extra=about)
        self.refuse([entry], Refused(Refusal.STORAGE_REFUSED, sentence(error)))

    def refuse_all(self, *, but: Iterable[Entry] = ()) -> None:
        """Tell everyone that the outcome is not known, but those whose writes somebody still does."""
        kept = {entry.number for entry in but}
        left = [entry for number, entry in self._open.items() if number not in kept]
        self.refuse(left, Refused(Refusal.DATABASE_UNAVAILABLE))

    def outage(self, error: Exception, *, since: float) -> bool:
        """Note that the database does not answer. Returns whether it has been away for too long."""
        if not self.breaker.failing:
            logger.warning(
                "the database does not answer, the journal tries again: %s", sentence(error)
            )
        return self.breaker.failed(since=since)
