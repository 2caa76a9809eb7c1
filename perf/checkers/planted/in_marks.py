"""Mutants of marks and of presence."""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec

from perf.checkers.planted.mutant import Mutant, shuffled
from perf.history.events import (
    Closed,
    Cursors,
    DeviceMade,
    Marked,
    MarkSeen,
    Opened,
    PresenceSeen,
    RunEnded,
    StoredConversation,
    StoredMark,
)
from perf.history.memory import History

LONG_NS = 20_000_000_000  # longer than presence may be wrong


def _ends(history: History, chance: random.Random) -> list[Cursors]:
    """The ends of devices that were connected then."""
    return [event for event in shuffled(history.all(Cursors), chance) if event.connected]


def _insert_before(history: History, end: Cursors, *events: MarkSeen | PresenceSeen) -> None:
    file, index = history.place(end)
    file[index:index] = events


def _sights(history: History, observer: int) -> Iterator[MarkSeen]:
    """The last marks that a device was shown of each device and conversation."""
    last = {
        (seen.of, seen.conversation): seen
        for seen in history.all(MarkSeen)
        if seen.device == observer
    }
    yield from last.values()


def _regress(history: History, chance: random.Random) -> bool:
    for end in _ends(history, chance):
        for seen in _sights(history, end.device):
            lower = msgspec.structs.replace(seen, t=end.t - 1, delivered=seen.delivered - 1, read=0)
            _insert_before(history, end, lower)
            return True
    return False


def _read_first(history: History, chance: random.Random) -> bool:
    """The first mark that a device is shown says read beyond delivered; later ones are right."""
    found: dict[tuple[int, str, str], list[MarkSeen]] = {}
    for seen in history.all(MarkSeen):
        found.setdefault((seen.device, seen.of, seen.conversation), []).append(seen)
    for sights in shuffled(found.values(), chance):
        first = sights[0]
        if len(sights) > 1 and first.read == first.delivered:
            bad = msgspec.structs.replace(first, delivered=first.delivered - 1)
            history.replace(first, bad)
            return True
    return False


def _foretell(history: History, chance: random.Random) -> bool:
    for end in _ends(history, chance):
        for seen in _sights(history, end.device):
            higher = msgspec.structs.replace(seen, t=end.t - 1, delivered=10_000)
            _insert_before(history, end, higher)
            return True
    return False


def _store_ahead(history: History, chance: random.Random) -> bool:
    lasts = {line.conversation: line.last_seq for line in history.all_stored(StoredConversation)}
    for mark in shuffled(history.all_stored(StoredMark), chance):
        ahead = msgspec.structs.replace(mark, delivered=lasts[mark.conversation] + 1)
        history.alter_stored(mark, ahead)
        return True
    return False


def _said_at_last(history: History, chance: random.Random) -> Iterator[tuple[Marked, Cursors, str]]:
    """The last marks of devices that stayed to the end, and who they are."""
    ids = {made.device: made.id for made in history.all(DeviceMade)}
    began = {event.device: event.t for event in history.all(Opened)}
    for end in _ends(history, chance):
        mine = [event for event in history.all(Marked) if event.device == end.device]
        if mine and mine[-1].t > began[end.device]:
            yield mine[-1], end, ids[end.device]


def _lose_stored(history: History, chance: random.Random) -> bool:
    for marked, _, device in _said_at_last(history, chance):
        for mark in history.all_stored(StoredMark):
            if (mark.device, mark.conversation) == (device, marked.conversation):
                history.alter_stored(mark)
                return True
    return False


def _lose_shown(history: History, chance: random.Random) -> bool:
    """One device is not shown what another said last."""
    for marked, end, device in _said_at_last(history, chance):
        for observer in _ends(history, chance):
            sights = [
                seen
                for seen in history.all(MarkSeen)
                if (seen.device, seen.of, seen.conversation)
                == (observer.device, device, marked.conversation)
            ]
            others = [
                seen
                for seen in history.all(MarkSeen)
                if seen.conversation == marked.conversation and seen not in sights
            ]
            if observer.device != end.device and others and any(s.t > marked.t for s in sights):
                for seen in sights:
                    history.remove(seen)
                return True
    return False


def _stay_longer(history: History, *kinds: type, device: int | None = None) -> None:
    """The run ends later, for everybody or for one device."""
    for events in history.files:
        for index, event in enumerate(events):
            late = isinstance(event, kinds) and event.t > _rest(history)
            if late and (device is None or getattr(event, "device", device) == device):
                events[index] = msgspec.structs.replace(event, t=event.t + LONG_NS)


def _rest(history: History) -> int:
    """The moment before the ends begin."""
    return min(event.t for event in history.all(Cursors)) - 1


def _haunt_online(history: History, chance: random.Random) -> bool:
    """Everybody goes but one device, which is not told."""
    users = {made.device: made.user for made in history.all(DeviceMade)}
    for end in _ends(history, chance):
        if any(users[other.device] != users[end.device] for other in _ends(history, chance)):
            _stay_longer(history, Cursors, Closed, device=end.device)
            return True
    return False


def _haunt_offline(history: History, chance: random.Random) -> bool:
    """A device is told that a user has gone who has not."""
    users = {made.device: made.user for made in history.all(DeviceMade)}
    ends = _ends(history, chance)
    if len(ends) < 2:
        return False
    user = users[ends[1].device]
    seen = PresenceSeen(_rest(history), ends[0].device, user, "offline", 1 << 60)
    _insert_before(history, ends[0], seen)
    _stay_longer(history, Cursors, Closed, RunEnded)
    return True


MUTANTS = (
    Mutant("receipt regression", "a mark goes back", _regress),
    Mutant("read before delivered", "a mark says read beyond delivered", _read_first),
    Mutant("phantom receipt", "a mark is shown that nobody said", _foretell),
    Mutant("phantom receipt", "a mark is stored beyond the last change", _store_ahead),
    Mutant("lost receipt", "a mark is not stored", _lose_stored),
    Mutant("lost receipt", "a mark is not shown to somebody", _lose_shown),
    Mutant("ghost online", "somebody who has gone is still shown", _haunt_online),
    Mutant("ghost offline", "somebody who is here is shown as gone", _haunt_offline),
)
