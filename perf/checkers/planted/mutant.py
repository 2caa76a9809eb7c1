"""What a mutant is, and how the frames of a history are looked at and altered to make one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import msgspec

from perf.history.events import (
    Added,
    AnyEvent,
    Change,
    Cursors,
    Delivered,
    Fetched,
    Opened,
    Page,
    Removed,
    StoredConversation,
)
from perf.history.memory import History

T = TypeVar("T")
FIRST_OWN_PAGE = 1_000_000  # numbers of the pages that mutants write


@dataclass(frozen=True, slots=True)
class Mutant:
    """One way to break one promise. `plant` says whether the history had an opportunity for it."""

    anomaly: str
    title: str
    plant: Callable[[History, random.Random], bool]


class Arrival(NamedTuple):
    """A frame that a device applied. `first`: the first of its conversation in a resumed session;
    `last`: its conversation's last of all."""

    event: Delivered
    page: Page
    first: bool
    last: bool


def arrivals(history: History) -> list[Arrival]:
    """Every delivery of a good history, where each continues its device's view."""
    found: list[Arrival] = []
    for events in history.files:
        pages = {event.page: event for event in events if isinstance(event, Page)}
        sessions: dict[int, int] = {}
        fresh: set[tuple[int, str]] = set()
        for event in events:
            if isinstance(event, Opened):
                sessions[event.device] = sessions.get(event.device, 0) + 1
                fresh -= {key for key in fresh if key[0] == event.device}
            elif isinstance(event, Added):
                fresh.discard((event.device, event.conversation))
            elif isinstance(event, Delivered):
                page = pages[event.page]
                key = event.device, page.conversation
                first = key not in fresh and sessions[event.device] > 1
                fresh.add(key)
                found.append(Arrival(event, page, first, last=False))
    newest = {(one.event.device, one.page.conversation): one.event for one in found}
    return [
        one._replace(last=newest[one.event.device, one.page.conversation] is one.event)
        for one in found
    ]


def final(history: History, arrival: Arrival) -> bool:
    """Whether the device had no new session after this delivery, and was connected at the end."""
    events, index = history.place(arrival.event)
    device = arrival.event.device
    later = [one for one in events[index:] if getattr(one, "device", 0) == device]
    ends = [one for one in later if isinstance(one, Cursors)]
    return not any(isinstance(one, Opened) for one in later) and ends[0].connected


def leaves(history: History, arrival: Arrival) -> bool:
    """Whether the device is told right after this delivery that its user has left."""
    events, index = history.place(arrival.event)
    return isinstance(events[index + 1], Removed)


def deliver(
    history: History, at: AnyEvent, page: Page, *, device: int, after: bool = False, t: int = 0
) -> None:
    """Have a device get another frame just before (or after) an event, or instead of it."""
    events, index = history.place(at)
    numbers = [one.page for one in events if isinstance(one, Page)]
    number = max(FIRST_OWN_PAGE, *numbers) + 1
    t = t or at.t
    written = msgspec.structs.replace(page, t=t, page=number)
    place = index + 1 if after else index
    events[place:place] = [written, Delivered(t, device, number)]


def set_changes(history: History, arrival: Arrival, changes: Iterable[Change]) -> None:
    """Have one device get a frame with other content."""
    page = msgspec.structs.replace(arrival.page, changes=tuple(changes))
    deliver(history, arrival.event, page, device=arrival.event.device)
    history.remove(arrival.event)


def substitute(history: History, arrival: Arrival, others: Mapping[Change, Change | None]) -> None:
    """Have one device get other changes instead of these (None: nothing)."""
    altered = (others.get(change, change) for change in arrival.page.changes)
    set_changes(history, arrival, (change for change in altered if change is not None))


def show_otherwise(
    history: History,
    chance: random.Random,
    fit: Callable[[Change], bool],
    bad: Callable[[Change], Change | None],
) -> bool:
    """Have one device get another change instead of one that is fit for it (None: nothing); whether there is one."""
    for one in shuffled(arrivals(history), chance):
        for change in filter(fit, one.page.changes):
            substitute(history, one, {change: bad(change)})
            return True
    return False


def alter_everywhere(history: History, others: Mapping[Change, Change | None]) -> None:
    """Put other changes in the place of these in all frames, reads and the store (None: nothing)."""

    def altered(changes: Iterable[Change]) -> tuple[Change, ...]:
        found = (others.get(change, change) for change in changes)
        return tuple(change for change in found if change is not None)

    for events in history.files:
        for index, event in enumerate(events):
            if isinstance(event, (Page, Fetched)):
                events[index] = msgspec.structs.replace(event, changes=altered(event.changes))
    for line in history.all_stored(StoredConversation):
        rows = sorted(altered(line.changes), key=lambda row: row.seq)
        history.alter_stored(line, msgspec.structs.replace(line, changes=tuple(rows)))


def set_cursor(history: History, device: int, conversation: str, cursor: int) -> None:
    """Have a client end at another cursor."""
    for event in history.all(Cursors):
        if event.device == device:
            cursors = {**event.cursors, conversation: cursor}
            history.replace(event, msgspec.structs.replace(event, cursors=cursors))


def open_rooms(history: History) -> set[str]:
    """The conversations whose members may see everything."""
    lines = history.all_stored(StoredConversation)
    return {line.conversation for line in lines if line.history == "all"}


def newest(history: History) -> dict[str, Change]:
    """What is stored of each message."""
    lines = history.all_stored(StoredConversation)
    return {row.id: row for line in lines for row in line.changes}


def ends(history: History, chance: random.Random) -> list[Cursors]:
    """The ends of devices that were connected then."""
    return [event for event in shuffled(history.all(Cursors), chance) if event.connected]


def insert_before(history: History, end: Cursors, *events: AnyEvent) -> None:
    """Have these happen before a device's end, in its file."""
    file, index = history.place(end)
    file[index:index] = events


def shuffled(items: Iterable[T], chance: random.Random) -> list[T]:
    """The items in random order."""
    found = list(items)
    chance.shuffle(found)
    return found
