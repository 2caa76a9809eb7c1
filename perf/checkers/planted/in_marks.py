"""Mutants of marks."""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec

from perf.checkers.planted.in_sessions import stays_of
from perf.checkers.planted.mutant import Mutant, ends, insert_before, shuffled
from perf.history.events import (
    Cursors,
    DeviceMade,
    Marked,
    MarkSeen,
    Opened,
    Stay,
    StoredConversation,
    StoredMark,
)
from perf.history.memory import History


def _sights(history: History, observer: int) -> Iterator[MarkSeen]:
    """The last marks that a device was shown of each device and conversation."""
    last = {
        (seen.of, seen.conversation): seen
        for seen in history.all(MarkSeen)
        if seen.device == observer
    }
    yield from last.values()


def _regress(history: History, chance: random.Random) -> bool:
    for end in ends(history, chance):
        for seen in _sights(history, end.device):
            lower = msgspec.structs.replace(seen, t=end.t - 1, delivered=seen.delivered - 1, read=0)
            insert_before(history, end, lower)
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
    for end in ends(history, chance):
        for seen in _sights(history, end.device):
            if end.device not in _staying(history, seen.conversation):
                continue  # no mark of after they left is for them
            higher = msgspec.structs.replace(seen, t=end.t - 1, delivered=10_000)
            insert_before(history, end, higher)
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
    for end in ends(history, chance):
        mine = [event for event in history.all(Marked) if event.device == end.device]
        if mine and mine[-1].t > began[end.device]:
            yield mine[-1], end, ids[end.device]


def _staying(history: History, conversation: str) -> set[int]:
    """The devices of those who are in a conversation in the end: marks end with the stay."""
    stays = [stay for stay in history.all_stored(Stay) if stay.conversation == conversation]
    users = {stay.user for stay in stays if stay.left is None}
    return {made.device for made in history.all(DeviceMade) if made.user in users}


def _lose_stored(history: History, chance: random.Random) -> bool:
    for marked, _, device in _said_at_last(history, chance):
        for mark in history.all_stored(StoredMark):
            staying = marked.device in _staying(history, mark.conversation)
            if staying and (mark.device, mark.conversation) == (device, marked.conversation):
                history.alter_stored(mark)
                return True
    return False


def _lose_shown(history: History, chance: random.Random) -> bool:
    """One device is not shown what another said last."""
    for marked, end, device in _said_at_last(history, chance):
        staying = _staying(history, marked.conversation)
        for observer in ends(history, chance) if end.device in staying else ():
            if observer.device not in staying:
                continue
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


def _show_none(history: History, chance: random.Random) -> bool:
    """Nobody is shown any mark of a conversation."""
    for marked, _, _ in _said_at_last(history, chance):
        staying = _staying(history, marked.conversation)
        here = [end for end in ends(history, chance) if end.device in staying]
        if len(here) > 1 and marked.device in staying:
            for seen in history.all(MarkSeen):
                if seen.conversation == marked.conversation:
                    history.remove(seen)
            return True
    return False


def _show_after_leaving(history: History, chance: random.Random) -> bool:
    """A device is shown a mark of a change that came after its user had left."""
    ids = {made.device: made.id for made in history.all(DeviceMade)}
    for end in ends(history, chance):
        for marked in reversed(history.all(Marked)):
            stays = stays_of(history, end.device, marked.conversation)
            left = stays[-1].left if stays else None
            if left is not None and left < marked.delivered and marked.t < end.t:
                marks = marked.conversation, ids[marked.device], marked.delivered, marked.read
                insert_before(history, end, MarkSeen(end.t - 1, end.device, *marks))
                return True
    return False


MUTANTS = (
    Mutant("receipt regression", "a mark goes back", _regress),
    Mutant("read before delivered", "a mark says read beyond delivered", _read_first),
    Mutant("phantom receipt", "a mark is shown that nobody said", _foretell),
    Mutant("phantom receipt", "a mark is stored beyond the last change", _store_ahead),
    Mutant("lost receipt", "a mark is not stored", _lose_stored),
    Mutant("lost receipt", "a mark is not shown to somebody", _lose_shown),
    Mutant("lost receipt", "no mark of a conversation is shown to anybody", _show_none),
    Mutant("delivery after a fence", "a former member is shown marks", _show_after_leaving),
)
