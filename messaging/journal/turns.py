"""Whose write is next: who has little to write waits for a few batches at most, however much the others have.

As long as few wait, who came first is first: what comes together for one conversation is stored together, which is what
makes a batch cheap. What comes behind these waits by device: deficit round robin with a list for devices that come anew, as in
FQ-CoDel (RFC 8290, section 4.1.2), by writes. Laws: a device's writes keep their order; whoever came anew is one of the others
for a round, so that many who have little hold up nobody for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from messaging.journal.batching import BATCH_BYTES, BATCH_ROWS
from messaging.journal.writer import Entry

FEW_BATCHES = 4  # wait in the order in which they came: about a fifth of a second's work
# Writes of a device in a turn: the more of a conversation are in a batch, the less each costs.
TURN = 16


class Turns:
    """Writes that wait. The head is what is next, come what may; behind it the devices take turns."""

    def __init__(self) -> None:
        self._head: deque[Entry] = deque()
        self._head_bytes = 0
        self._waiting: dict[str, deque[Entry]] = {}  # by device, behind the head
        self._new: deque[str] = deque()  # devices that had nothing here
        self._others: deque[str] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Entry]:
        return chain(self._head, *self._waiting.values())

    def waiting(self, device: str) -> int:
        """How many writes of the device wait behind the head."""
        return len(self._waiting.get(device, ()))

    def append(self, entry: Entry) -> None:
        """Put a write behind all others of its device."""
        self._count += 1
        if not self._waiting and self._has_room(
            FEW_BATCHES * BATCH_ROWS, FEW_BATCHES * BATCH_BYTES
        ):
            self._next(entry)
            return
        if entry.device not in self._waiting:
            self._waiting[entry.device] = deque()
            self._new.append(entry.device)
        self._waiting[entry.device].append(entry)

    def head(self, most: int) -> Sequence[Entry]:
        """What is next: so many writes, or a batch by their bytes, if as many wait. It stays until it is dropped."""
        while (self._new or self._others) and self._has_room(most, BATCH_BYTES):
            is_new = bool(self._new)
            device = (self._new or self._others).popleft()
            self._serve(device, most)
            if is_new or self._waiting[device]:
                self._others.append(device)
            else:
                del self._waiting[device]
        return self._head

    def _has_room(self, rows: int, size: int) -> bool:
        return len(self._head) < rows and self._head_bytes < size

    def _serve(self, device: str, most: int) -> None:
        waiting = self._waiting[device]
        for _ in range(min(TURN, len(waiting))):
            if self._has_room(most, BATCH_BYTES):
                self._next(waiting.popleft())

    def _next(self, entry: Entry) -> None:
        self._head.append(entry)
        self._head_bytes += entry.size

    def drop(self, count: int) -> None:
        """Take so many off the head."""
        for _ in range(count):
            self._head_bytes -= self._head.popleft().size
        self._count -= count

    def put_back(self, entries: Sequence[Entry]) -> None:
        """Put before the head what was taken off it."""
        self._head.extendleft(reversed(entries))
        self._head_bytes += sum(entry.size for entry in entries)
        self._count += len(entries)

    def remove(self, fit: Callable[[Entry], bool]) -> list[Entry]:
        """Take off what fits, wherever it is; of each device in order."""
        removed = [entry for entry in self if fit(entry)]
        for entries in (self._head, *self._waiting.values()):
            kept = [entry for entry in entries if not fit(entry)]
            if len(kept) < len(entries):
                entries.clear()
                entries.extend(kept)
        self._head_bytes = sum(entry.size for entry in self._head)
        self._count -= len(removed)
        return removed
