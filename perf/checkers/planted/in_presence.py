"""Mutants of presence: views that stay wrong, also beside a fault and after it, and what is nobody's business."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from perf.checkers.planted.model import LONG_NS
from perf.checkers.planted.mutant import Mutant, ends, insert_before
from perf.history.events import (
    Closed,
    Cursors,
    DeviceMade,
    Fault,
    Opened,
    PresenceSeen,
    Removed,
    RunEnded,
    Stay,
    Unreached,
)
from perf.history.memory import History

FAULT_NS = 5_000_000_000  # how long a fault lasts that is over long before the end


class Haunted(NamedTuple):
    """Who sees a ghost, and whose it is, by the ends of their devices; and the moment since when, ns."""

    watcher: Cursors
    ghost: Cursors
    since: int


def haunt_online(history: History, chance: random.Random) -> Haunted | None:
    """Everybody goes but one device, which is not told; None if nobody is shown there in the end."""
    users = users_of(history)
    for end in ends(history, chance):
        shown = {seen.user for seen in _last_views(history, end.device) if seen.state != "offline"}
        going = [
            one
            for one in ends(history, chance)
            if users[one.device] in shown and users[one.device] != users[end.device]
        ]
        if going:
            since = _rest(history)
            _stay_longer(history, Cursors, Closed, device=end.device)
            return Haunted(_end(history, end.device), going[0], since)
    return None


def haunt_offline(history: History, chance: random.Random) -> Haunted | None:
    """A device is told that a user has gone who has not; None if no two who share anything are here in the end."""
    sharing = _sharing(history)
    users = users_of(history)
    for end in ends(history, chance):
        for other in ends(history, chance):
            mine, theirs = users[end.device], users[other.device]
            if end is not other and (mine == theirs or sharing[mine] & sharing[theirs]):
                since = _rest(history)
                seen = PresenceSeen(since, end.device, theirs, "offline", 1 << 60)
                insert_before(history, end, seen)
                _stay_longer(history, Cursors, Closed, RunEnded)
                return Haunted(_end(history, end.device), _end(history, other.device), since)
    return None


def keep_out_of_reach(
    history: History,
    user: str,
    *,
    since: int,
    lasts_ns: int,
    untold: bool = False,
    unheard: bool = False,
) -> None:
    """A fault keeps a user's devices out of reach from a moment on."""
    for end in history.all(Cursors):
        if users_of(history)[end.device] == user:
            record = Unreached(end.t - 1, end.device, since, since + lasts_ns, untold, unheard)
            insert_before(history, end, record)


def _haunt_online(history: History, chance: random.Random) -> bool:
    return haunt_online(history, chance) is not None


def _haunt_offline(history: History, chance: random.Random) -> bool:
    return haunt_offline(history, chance) is not None


def _haunt_beside(history: History, chance: random.Random) -> bool:
    """All others are out of reach, the one that is not told is not."""
    it, users = haunt_online(history, chance), users_of(history)
    if it is None:
        return False
    for user in {*users.values()} - {users[it.watcher.device]}:
        keep_out_of_reach(history, user, since=it.since, lasts_ns=2 * LONG_NS, untold=True)
    return True


def _haunt_after(history: History, chance: random.Random) -> bool:
    """The device is out of reach, but not for so long."""
    it = haunt_online(history, chance)
    if it is not None:
        user = users_of(history)[it.watcher.device]
        keep_out_of_reach(
            history, user, since=it.since, lasts_ns=FAULT_NS, untold=True, unheard=True
        )
    return it is not None


def _hide_beside(history: History, chance: random.Random) -> bool:
    """Nobody hears of the one who sees the ghost; of the one who is shown as gone everybody does."""
    it, users = haunt_offline(history, chance), users_of(history)
    if it is None or users[it.watcher.device] == users[it.ghost.device]:
        return False
    user = users[it.watcher.device]
    keep_out_of_reach(history, user, since=it.since, lasts_ns=2 * LONG_NS, unheard=True)
    return True


def _hide_after(history: History, chance: random.Random) -> bool:
    """Nobody hears of the one who is shown as gone, but not for so long."""
    it = haunt_offline(history, chance)
    if it is not None:
        user = users_of(history)[it.ghost.device]
        keep_out_of_reach(
            history, user, since=it.since, lasts_ns=FAULT_NS, untold=True, unheard=True
        )
    return it is not None


def _never_show(history: History, chance: random.Random) -> bool:
    """Somebody who is here and stays is never shown to a device, in a run without a fault."""
    it, users = haunt_offline(history, chance), users_of(history)
    if it is None or users[it.watcher.device] == users[it.ghost.device]:
        return False
    user = users[it.ghost.device]
    for fault in history.all(Fault):
        history.remove(fault)
    for seen in history.all(PresenceSeen):
        if (seen.device, seen.user) == (it.watcher.device, user):
            history.remove(seen)
    return True


def _show_the_past(history: History, chance: random.Random) -> bool:
    """Somebody who has left everything, and was told so, is shown who is here."""
    users, cut_off = users_of(history), {one.device for one in history.all(Unreached)}
    for end in ends(history, chance):
        user = users[end.device]
        if end.device in cut_off:
            continue
        others = sorted({*users.values()} - {user})
        if others and _was_told(history, end.device, user):
            seen = PresenceSeen(end.t - 1, end.device, chance.choice(others), "online", 1 << 60)
            insert_before(history, end, seen)
            return True
    return False


def _show_the_gone(history: History, chance: random.Random) -> bool:
    """Somebody who stays is shown, long after, that somebody is here who has left everything."""
    sharing, users = _sharing(history), users_of(history)
    gone = sorted(
        users[device]
        for device in users
        if not sharing[users[device]] and _was_told(history, device, users[device])
    )
    for end in ends(history, chance):
        if gone and sharing[users[end.device]]:
            t = end.t + LONG_NS - 1
            seen = PresenceSeen(t, end.device, chance.choice(gone), "online", 1 << 60)
            insert_before(history, end, seen)
            _stay_longer(history, Cursors, Closed, RunEnded)
            return True
    return False


def _end(history: History, device: int) -> Cursors:
    return next(one for one in history.all(Cursors) if one.device == device)


def users_of(history: History) -> dict[int, str]:
    """Whose each device is."""
    return {made.device: made.user for made in history.all(DeviceMade)}


def _sharing(history: History) -> dict[str, set[str]]:
    """The conversations in which each user is at the end."""
    found: dict[str, set[str]] = {user: set() for user in users_of(history).values()}
    for stay in history.all_stored(Stay):
        if stay.left is None:
            found[stay.user].add(stay.conversation)
    return found


def _was_told(history: History, device: int, user: str) -> bool:
    """Whether a user has left every conversation, and the device was told of each."""
    told = {(one.conversation, one.upto) for one in history.all(Removed) if one.device == device}
    last: dict[str, Stay] = {}
    for stay in history.all_stored(Stay):
        if stay.user == user:
            last[stay.conversation] = max(stay, last.get(stay.conversation, stay), key=_joined)
    return all((stay.conversation, stay.left) in told for stay in last.values())


def _joined(stay: Stay) -> int:
    return stay.joined


def _last_views(history: History, observer: int) -> Iterator[PresenceSeen]:
    """What a device was shown last of each user, in its last session."""
    began = max((one.t for one in history.all(Opened) if one.device == observer), default=0)
    seen = [one for one in history.all(PresenceSeen) if one.device == observer and one.t > began]
    yield from {one.user: one for one in seen}.values()


def _stay_longer(history: History, *kinds: type, device: int | None = None) -> None:
    """The run ends later, for everybody or for one device."""
    rest = _rest(history)
    for events in history.files:
        for index, event in enumerate(events):
            late = isinstance(event, kinds) and event.t > rest
            if late and (device is None or getattr(event, "device", device) == device):
                events[index] = msgspec.structs.replace(event, t=event.t + LONG_NS)


def _rest(history: History) -> int:
    """The moment before the ends begin."""
    return min(event.t for event in history.all(Cursors)) - 1


MUTANTS = (
    Mutant("ghost online", "somebody who has gone is still shown", _haunt_online),
    Mutant("ghost online", "it is, while a fault keeps others out of reach", _haunt_beside),
    Mutant("ghost online", "it is, to who was out of reach, after the fault", _haunt_after),
    Mutant("ghost offline", "somebody who is here is shown as gone", _haunt_offline),
    Mutant("ghost offline", "it is, while nobody hears of the one who looks", _hide_beside),
    Mutant("ghost offline", "it is, of who was out of reach, after the fault", _hide_after),
    Mutant("ghost offline", "somebody who is here is never shown", _never_show),
    Mutant("misrouted presence", "who has left is shown who is here", _show_the_past),
    Mutant("misrouted presence", "who stays is shown that one is here who left", _show_the_gone),
)
