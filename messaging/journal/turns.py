"""Whose write is next: who has little to write waits for the batch of now, however much the others have.

Deficit round robin with a list for those who come anew, as in FQ-CoDel (RFC 8290, section 4.1.2), by writes.
Laws: a device's writes keep their order; whoever came anew is one of the others for a round, so that many who
have little hold up nobody for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from messaging.journal.batching import BATCH_BYTES
from messaging.journal.writer import Entry

# Writes of a device in a turn: the more of a conversation are in a batch, the less each costs.
TURN = 16


class Turns:
    """Writes that wait, in turns of the devices. The head is what is next, come what may."""

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
        if entry.device not in self._waiting:
            self._waiting[entry.device] = deque()
            self._new.append(entry.device)
        self._waiting[entry.device].append(entry)
        self._count += 1

    def head(self, most: int) -> Sequence[Entry]:
        """What is next: so many writes, or a batch by their bytes, if as many wait. It stays until it is dropped."""
        while (self._new or self._others) and self._has_room(most):
            is_new = bool(self._new)
            device = (self._new or self._others).popleft()
            self._serve(device, most)
            if is_new or self._waiting[device]:
                self._others.append(device)
            else:
                del self._waiting[device]
        return self._head

    def _has_room(self, most: int) -> bool:
        return len(self._head) < most and self._head_bytes < BATCH_BYTES

    def _serve(self, device: str, most: int) -> None:
        waiting = self._waiting[device]
        for _ in range(min(TURN, len(waiting))):
            if self._has_room(most):
                self._head.append(waiting.popleft())
                self._head_bytes += self._head[-1].size

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
