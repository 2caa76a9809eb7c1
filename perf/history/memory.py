"""A history in memory that can be written, judged and altered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from perf.history.events import AnyEvent, AnyStored
from perf.history.reader import Evidence, gather
from perf.history.rundir import RunDirectory

E = TypeVar("E", bound=AnyEvent)
S = TypeVar("S", bound=AnyStored)

_encode = msgspec.json.Encoder().encode_lines


@dataclass(slots=True, eq=False)
class History:
    """The events of each file in order, and what is stored in the end (None: nobody looked)."""

    files: list[list[AnyEvent]]
    stored: list[AnyStored] | None

    def evidence(self) -> Evidence:
        """As the reader loads it."""
        return gather(self.files, self.stored)

    def write(self, run: RunDirectory) -> None:
        """As a run leaves it. Raises OSError."""
        run.history.mkdir(parents=True, exist_ok=True)
        for number, events in enumerate(self.files):
            run.history_of(number).write_bytes(_encode(events))
        if self.stored is not None:
            run.stored.write_bytes(_encode(self.stored))

    def copy(self) -> History:
        """A copy that can be altered without harm to this one: events themselves are frozen."""
        stored = None if self.stored is None else list(self.stored)
        return History([list(events) for events in self.files], stored)

    def all(self, kind: type[E]) -> list[E]:
        """All events of a kind, in the order of time."""
        found = [event for events in self.files for event in events if isinstance(event, kind)]
        return sorted(found, key=lambda event: event.t)

    def all_stored(self, kind: type[S]) -> list[S]:
        """All stored lines of a kind."""
        return [line for line in self.stored or () if isinstance(line, kind)]

    def place(self, event: AnyEvent) -> tuple[list[AnyEvent], int]:
        """The file that has this very event, and where. Raises LookupError."""
        for events in self.files:
            for index, one in enumerate(events):
                if one is event:
                    return events, index
        raise LookupError(f"{event} is not in this history")

    def remove(self, event: AnyEvent) -> None:
        """Take an event out."""
        events, index = self.place(event)
        del events[index]

    def replace(self, event: AnyEvent, *others: AnyEvent) -> None:
        """Put others in the place of an event."""
        events, index = self.place(event)
        events[index : index + 1] = others

    def alter_stored(self, line: AnyStored, *others: AnyStored) -> None:
        """Put others in the place of a stored line."""
        assert self.stored is not None
        index = next(at for at, one in enumerate(self.stored) if one is line)
        self.stored[index : index + 1] = others
