"""Mutants of frames: one device is sent something else than it should be."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from perf.checkers.planted.mutant import (
    Arrival,
    Mutant,
    arrivals,
    deliver,
    final,
    leaves,
    newest,
    open_rooms,
    set_changes,
    set_cursor,
    show_otherwise,
    shuffled,
    substitute,
)
from perf.history.events import Acked, Change, Delivered, Page, Sent
from perf.history.memory import History


def _lose_last(history: History, chance: random.Random) -> bool:
    rows = newest(history)
    for one in shuffled(arrivals(history), chance):
        if one.last and final(history, one) and _current(one.page, rows):
            history.remove(one.event)
            set_cursor(history, one.event.device, one.page.conversation, one.page.since)
            return True
    return False


def _lose_one(history: History, chance: random.Random) -> bool:
    rows = newest(history)
    for one in _open(history, chance):
        for change in _current(one.page, rows):
            substitute(history, one, {change: None})
            return True
    return False


def _lose_early(history: History, chance: random.Random) -> bool:
    """A change is left out long before the one that replaced it was asked for."""
    asked = {sent.client_id: sent for sent in history.all(Sent)}
    replaced = {
        (ack.message, ack.version - 1): asked[ack.client_id].t
        for ack in reversed(history.all(Acked))
        if asked[ack.client_id].what != "send"
    }
    for one in _open(history, chance):
        for change in one.page.changes:
            if replaced.get((change.id, change.version), 0) > one.event.t:
                substitute(history, one, {change: None})
                return True
    return False


def _open(history: History, chance: random.Random) -> list[Arrival]:
    """Deliveries in conversations of which nothing is hidden."""
    rooms = open_rooms(history)
    return [one for one in shuffled(arrivals(history), chance) if one.page.conversation in rooms]


def _current(page: Page, rows: dict[str, Change]) -> list[Change]:
    """The changes of a frame that are still what is stored."""
    return [change for change in page.changes if rows.get(change.id) == change]


def _repeat(history: History, chance: random.Random) -> bool:
    one = shuffled(arrivals(history), chance)[0]
    events, index = history.place(one.event)
    events.insert(index + 1, one.event)
    return True


def _repeat_inside(history: History, chance: random.Random) -> bool:
    for one in shuffled(arrivals(history), chance):
        if one.page.changes:
            set_changes(history, one, [one.page.changes[0], *one.page.changes])
            return True
    return False


def _neighbours(history: History, chance: random.Random) -> Iterator[tuple[Arrival, Arrival]]:
    """Two frames of one session, the second of which continues the first."""
    found = arrivals(history)
    for at in shuffled(range(len(found)), chance):
        one = found[at]
        for other in found[at + 1 :]:
            same = other.event.device == one.event.device
            if same and other.page.conversation == one.page.conversation:
                if not one.first and not other.first and not leaves(history, one):
                    yield one, other
                break


def _swap(history: History, chance: random.Random) -> bool:
    """The first comes after the second; the device asks, and gets the second again."""
    for one, other in _neighbours(history, chance):
        t = other.event.t
        late, again = (Delivered(t, one.event.device, x.event.page) for x in (one, other))
        history.remove(one.event)
        history.replace(other.event, other.event, late, again)
        return True
    return False


def _swap_inside(history: History, chance: random.Random) -> bool:
    for one in shuffled(arrivals(history), chance):
        if len(one.page.changes) > 1:
            set_changes(
                history, one, [one.page.changes[1], one.page.changes[0], *one.page.changes[2:]]
            )
            return True
    return False


def _skip(history: History, chance: random.Random) -> bool:
    """The second comes without the first; the device asks, and gets both."""
    for one, other in _neighbours(history, chance):
        changes = one.page.changes + other.page.changes
        both = msgspec.structs.replace(one.page, upto=other.page.upto, changes=changes)
        history.remove(one.event)
        deliver(history, other.event, both, device=one.event.device, after=True)
        return True
    return False


def _exchange(history: History, chance: random.Random) -> bool:
    """Two messages have each other's numbers."""
    rows = newest(history)
    for one in shuffled(arrivals(history), chance):
        young = [change for change in _current(one.page, rows) if change.version == 1]
        if len(young) > 1:
            first, second = young[:2]
            swapped: dict[Change, Change | None] = {
                first: second._replace(seq=first.seq, position=first.position),
                second: first._replace(seq=second.seq, position=second.position),
            }
            substitute(history, one, swapped)
            return True
    return False


def _invent(history: History, chance: random.Random) -> bool:
    for one in _open(history, chance):
        taken = {change.seq for change in one.page.changes}
        for seq in range(one.page.since + 1, one.page.upto + 1):
            if seq not in taken:
                ghost = Change(seq, "ghost", seq, 1, None, None, 7)
                set_changes(history, one, sorted([*one.page.changes, ghost]))
                return True
    return False


def _elsewhere(history: History, chance: random.Random) -> bool:
    one = shuffled(arrivals(history), chance)[0]
    page = Page(0, 0, "elsewhere", 0, 1, (Change(1, "ghost", 1, 1, None, None, 7),))
    deliver(history, one.event, page, device=one.event.device)
    return True


def _corrupt(history: History, chance: random.Random, *, make: Callable[[Change], Change]) -> bool:
    stands = _stands(history)
    return show_otherwise(history, chance, lambda it: stands(it) and not it.deleted, make)


def _corrupt_earlier(
    history: History, chance: random.Random, *, make: Callable[[Change], Change]
) -> bool:
    """A change that was replaced since is shown otherwise than it was sent."""
    rows = newest(history)
    keys = {ack.client_id for ack in history.all(Acked)}

    def fit(change: Change) -> bool:
        return change.version == 1 < rows[change.id].version and change.client_id in keys

    return show_otherwise(history, chance, fit, make)


def _other_body(change: Change) -> Change:
    return change._replace(digest=change.digest ^ 1)


def _other_envelope(change: Change) -> Change:
    return change._replace(envelope=change.envelope ^ 1)


def _other_details(change: Change) -> Change:
    return change._replace(details=change.details ^ 1)


def _other_origin(change: Change) -> Change:
    return change._replace(origin=change.origin ^ 1)


def _go_back(history: History, chance: random.Random) -> bool:
    """The newest change of a message comes with the version before it."""
    stands = _stands(history)
    return show_otherwise(
        history,
        chance,
        lambda it: stands(it) and it.version > 1,
        lambda it: it._replace(version=it.version - 1, digest=9),
    )


def _undelete(history: History, chance: random.Random) -> bool:
    stands = _stands(history)
    return show_otherwise(
        history,
        chance,
        lambda it: stands(it) and it.deleted,
        lambda it: it._replace(deleted=False, digest=9),
    )


def _rename(history: History, chance: random.Random) -> bool:
    """A frame says that another request made the message."""
    stands = _stands(history)
    return show_otherwise(
        history,
        chance,
        lambda it: stands(it) and it.client_id is not None,
        lambda it: it._replace(client_id=f"{it.client_id}0"),
    )


def _roll_back(history: History, chance: random.Random) -> bool:
    """A message is shown that was rolled back: repeated, it is stored, and promised, as another one."""
    stands, keys = _stands(history), {ack.client_id for ack in history.all(Acked)}
    return show_otherwise(
        history,
        chance,
        lambda it: stands(it) and it.client_id in keys,
        lambda it: it._replace(id=f"{it.id}-rolled-back"),
    )


def _stands(history: History) -> Callable[[Change], bool]:
    """Whether a change is still what is stored."""
    rows = newest(history)
    return lambda change: rows.get(change.id) == change


MUTANTS = (
    Mutant("lost", "a device's last frame never comes", _lose_last),
    Mutant("lost", "a message is left out of a frame", _lose_one),
    Mutant("lost", "a change is left out before it was replaced", _lose_early),
    Mutant("duplicated", "a frame comes twice", _repeat),
    Mutant("duplicated", "a message is in one frame twice", _repeat_inside),
    Mutant("reordered", "two frames change places", _swap),
    Mutant("reordered", "two messages of a frame change places", _swap_inside),
    Mutant("gap", "a frame is left out, and comes when it is asked for", _skip),
    Mutant("diverged order", "a device gets two messages with each other's numbers", _exchange),
    Mutant("phantom", "a message comes that nobody wrote", _invent),
    Mutant("phantom", "a frame comes of a conversation that does not exist", _elsewhere),
    Mutant("corrupt", "a message comes with another body", partial(_corrupt, make=_other_body)),
    Mutant(
        "corrupt",
        "an earlier version comes with another body",
        partial(_corrupt_earlier, make=_other_body),
    ),
    Mutant("corrupt", "a message comes with another file", partial(_corrupt, make=_other_envelope)),
    Mutant("corrupt", "a file comes with another name", partial(_corrupt, make=_other_details)),
    Mutant(
        "corrupt",
        "an earlier version comes as no answer",
        partial(_corrupt_earlier, make=_other_envelope),
    ),
    Mutant(
        "inconsistent", "a message comes as somebody else's", partial(_corrupt, make=_other_origin)
    ),
    Mutant(
        "inconsistent",
        "an earlier version comes as of another moment",
        partial(_corrupt_earlier, make=_other_origin),
    ),
    Mutant("resurrected", "a message goes back by a version", _go_back),
    Mutant("resurrected", "a deleted message comes back", _undelete),
    Mutant("inconsistent", "a frame names another request", _rename),
    Mutant("inconsistent", "a message comes that was rolled back", _roll_back),
)
