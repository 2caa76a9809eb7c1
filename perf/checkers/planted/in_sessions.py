"""Mutants of sessions: resumes, fences, cursors, and who is entitled to what."""

from __future__ import annotations

import random

import msgspec

from perf.checkers.planted.mutant import (
    Arrival,
    Mutant,
    arrivals,
    deliver,
    final,
    open_rooms,
    set_cursor,
    shuffled,
)
from perf.history.events import (
    Cursors,
    DeviceMade,
    Opened,
    Page,
    PresenceSeen,
    Removed,
    Revoked,
    Stay,
    StoredConversation,
)
from perf.history.memory import History


def stays_of(history: History, device: int, conversation: str) -> list[Stay]:
    """The stays of a device's user in a conversation."""
    user = next(one.user for one in history.all(DeviceMade) if one.device == device)
    return [
        stay
        for stay in history.all_stored(Stay)
        if stay.user == user and stay.conversation == conversation
    ]


def _resume_late(history: History, chance: random.Random) -> bool:
    """The first frame after a resume begins beyond the cursor; the device asks, and gets all."""
    for one in shuffled(arrivals(history), chance):
        page = one.page
        if one.first and page.upto > page.since + 1:
            changes = tuple(change for change in page.changes if change.seq > page.since + 1)
            late = msgspec.structs.replace(page, since=page.since + 1, changes=changes)
            deliver(history, one.event, late, device=one.event.device)
            return True
    return False


def _resume_early(history: History, chance: random.Random) -> bool:
    """The first frame after a resume is one that the device had."""
    found = arrivals(history)
    for at, one in enumerate(found):
        for before in reversed(found[:at]):
            same = before.event.device == one.event.device
            if one.first and same and before.page.conversation == one.page.conversation:
                if before.page.upto == one.page.since:
                    deliver(history, one.event, before.page, device=one.event.device)
                    return True
                break
    return False


def _after_leaving(history: History, chance: random.Random) -> bool:
    """A frame comes after the device was told that its user has left."""
    lasts = {line.conversation: line for line in history.all_stored(StoredConversation)}
    for one in shuffled(arrivals(history), chance):
        line, device = lasts[one.page.conversation], one.event.device
        stays = stays_of(history, device, line.conversation)
        left = max((stay.left or 1 << 62) for stay in stays)
        if one.last and final(history, one) and one.page.upto == left < line.last_seq:
            rows = tuple(row for row in line.changes if row.seq > left)
            if line.history == "since_joined" or not rows:
                continue
            events, index = history.place(one.event)
            told = next(x for x in events[index:] if isinstance(x, Removed) and x.device == device)
            page = Page(0, 0, line.conversation, left, line.last_seq, rows)
            t = next(event.t for event in history.all(Cursors)) - 1
            deliver(history, told, page, device=device, after=True, t=t)
            set_cursor(history, device, line.conversation, line.last_seq)
            return True
    return False


def _after_revocation(history: History, chance: random.Random) -> bool:
    revoked = {event.id for event in history.all(Revoked)}
    one = shuffled(arrivals(history), chance)[0]
    made = next(event for event in history.all(DeviceMade) if event.device == one.event.device)
    if made.id in revoked:
        return False
    opened = next(event for event in history.all(Opened) if event.device == made.device)
    history.files[0].append(Revoked(opened.t - 150_000_000, made.id))
    return True


def _stranger(history: History, chance: random.Random) -> bool:
    """Somebody gets a conversation in which they never were."""
    one = shuffled(arrivals(history), chance)[0]
    for stay in stays_of(history, one.event.device, one.page.conversation):
        history.alter_stored(stay)
    for seen in history.all(PresenceSeen):  # who is there would be nobody's business, either
        history.remove(seen)
    return True


def _hidden(history: History, chance: random.Random) -> bool:
    """A user is shown what was said before they joined, where that is hidden."""
    rooms = open_rooms(history)
    for one in shuffled(arrivals(history), chance):
        if one.page.conversation not in rooms and one.page.changes:
            return _join_later(history, one)
    return False


def _join_later(history: History, one: Arrival) -> bool:
    stays = stays_of(history, one.event.device, one.page.conversation)
    if len(stays) != 1:
        return False
    later = msgspec.structs.replace(stays[0], joined=one.page.changes[0].seq + 1)
    history.alter_stored(stays[0], later)
    return True


def _drift_at_end(history: History, chance: random.Random) -> bool:
    for event in shuffled(history.all(Cursors), chance):
        if event.cursors:
            name = min(event.cursors)
            set_cursor(history, event.device, name, event.cursors[name] + 1)
            return True
    return False


def _drift_in_hello(history: History, chance: random.Random) -> bool:
    """A client forgets a change that it had, and another time claims one that it did not have."""
    for one in shuffled(arrivals(history), chance):
        events, index = history.place(one.event)
        device, page = one.event.device, one.page
        opened = [x for x in events[:index] if isinstance(x, Opened) and x.device == device]
        claimed = page.since + 1
        had = [x for x in arrivals(history) if x.event.device == device and x.event.t < one.event.t]
        if any(x.page.upto >= claimed for x in had if x.page.conversation == page.conversation):
            continue  # it had it once
        if one.first and opened[-1].hello.get(page.conversation) == page.since and len(opened) > 1:
            hello = {**opened[-1].hello, page.conversation: page.since + 1}
            welcome = {**opened[-1].welcome, page.conversation: page.since + 1}
            changed = msgspec.structs.replace(opened[-1], hello=hello, welcome=welcome)
            history.replace(opened[-1], changed)
            changes = tuple(change for change in page.changes if change.seq > page.since + 1)
            later = msgspec.structs.replace(page, since=page.since + 1, changes=changes)
            if page.upto == page.since + 1:
                history.remove(one.event)
            else:
                deliver(history, one.event, later, device=device)
                history.remove(one.event)
            return True
    return False


MUTANTS = (
    Mutant("misrouted", "a user is shown what was said before they joined", _hidden),
    Mutant("resume gap", "a resumed feed begins beyond the cursor", _resume_late),
    Mutant("resume replay", "a resumed feed begins with what the device had", _resume_early),
    Mutant("delivery after a fence", "a frame comes to who has left", _after_leaving),
    Mutant("delivery after a fence", "frames come to a revoked device", _after_revocation),
    Mutant("misrouted", "frames come to who was never a member", _stranger),
    Mutant("cursor drift", "a client ends at a cursor that it can't have", _drift_at_end),
    Mutant("cursor drift", "a client claims a change that it was never sent", _drift_in_hello),
)
