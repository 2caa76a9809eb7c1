"""Mutants that a judge would overlook who takes the server's word: that a user has left, where a feed begins."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from perf.checkers.planted.in_sessions import stays_of
from perf.checkers.planted.mutant import (
    Mutant,
    arrivals,
    deliver,
    ends,
    final,
    insert_before,
    leaves,
    newest,
    set_cursor,
    show_otherwise,
    shuffled,
    substitute,
)
from perf.checkers.planted.scribe import RUN
from perf.history.events import (
    Acked,
    AnyEvent,
    Change,
    Closed,
    Cursors,
    DeviceMade,
    Fetched,
    MarkSeen,
    Opened,
    Page,
    PresenceSeen,
    Refused,
    Removed,
    Revoked,
    Sent,
    Stay,
    StoredConversation,
)
from perf.history.memory import History

OUTSIDER = 1_000  # beyond the numbers of all other devices


def _send_away(history: History, chance: random.Random) -> bool:
    """A device is told that its user has left, who has not, and gets nothing more."""
    rows = newest(history)
    for one in shuffled(arrivals(history), chance):
        device, name, since = one.event.device, one.page.conversation, one.page.since
        stays = stays_of(history, device, name)
        brings = any(rows[change.id] == change for change in one.page.changes)
        if one.last and brings and final(history, one) and stays[-1].left is None:
            history.replace(one.event, Removed(one.event.t, device, name, since))
            set_cursor(history, device, name, since)
            return True
    return False


def _send_away_at_last(history: History, chance: random.Random) -> bool:
    """A device that has everything is told in the end that its user has left, who has not."""
    for end in shuffled(history.all(Cursors), chance):
        for name, cursor in end.cursors.items():
            stays = stays_of(history, end.device, name)
            if end.connected and stays[-1].left is None:
                insert_before(history, end, Removed(end.t - 1, end.device, name, cursor))
                return True
    return False


def _begin_late(history: History, chance: random.Random) -> bool:
    """A device without a cursor is told that its feed begins beyond what was said since it is there."""
    rows, begun = (
        newest(history),
        {opened.device: opened for opened in reversed(history.all(Opened))},
    )
    firsts = {(one.event.device, one.page.conversation): one for one in reversed(arrivals(history))}
    keys = {ack.client_id for ack in history.all(Acked)}
    for one in shuffled(firsts.values(), chance):
        opened, name = begun[one.event.device], one.page.conversation
        sent = any(
            rows[it.id] == it and it.version == 1 and it.client_id in keys
            for it in one.page.changes
        )
        stayed = len(stays_of(history, one.event.device, name)) == 1
        later = [x for x in history.all(Opened) if x.device == opened.device and x is not opened]
        stayed = stayed and all(x.hello.get(name, 0) >= one.page.upto for x in later)
        if sent and stayed and not one.first and not leaves(history, one):
            hello = {other: seq for other, seq in opened.hello.items() if other != name}
            welcome = {**opened.welcome, name: one.page.upto}
            history.replace(opened, msgspec.structs.replace(opened, hello=hello, welcome=welcome))
            history.remove(one.event)
            return True
    return False


def _take_number(history: History, chance: random.Random) -> bool:
    """An earlier version of a message comes under the number of another, which does not come."""
    rows = newest(history)
    for one in shuffled(arrivals(history), chance):
        for change in one.page.changes:
            for other in one.page.changes:
                current = rows[other.id] == other and rows[change.id] != change
                if current and change.seq < other.seq < rows[change.id].seq:
                    substitute(history, one, {other: change._replace(seq=other.seq)})
                    return True
    return False


def _rename_earlier(history: History, chance: random.Random) -> bool:
    """A change that was replaced since is shown as somebody else's."""
    rows = newest(history)

    def fit(change: Change) -> bool:
        row = rows[change.id]
        return change.version < row.version and change.seq != row.seq

    return show_otherwise(history, chance, fit, lambda change: change._replace(device="device-0"))


def _promise_nowhere(history: History, chance: random.Random) -> bool:
    """A message is promised in a conversation of which nothing is stored."""
    for end in ends(history, chance):
        key = f"{RUN}.{end.device}.nowhere"
        sent = Sent(end.t - 2, end.device, end.t - 2, key, "nowhere", 1)
        insert_before(history, end, sent, Acked(end.t - 1, end.device, key, "m", 1, 1, 1))
        return True
    return False


def _tell_revoked(history: History, chance: random.Random, *, marks: bool) -> bool:
    """A device that was revoked hears of others all the same."""
    numbers = {made.id: made for made in history.all(DeviceMade)}
    for revoked in history.all(Revoked):
        made, t = numbers[revoked.id], revoked.t + 200_000_000
        seen = next((one for one in history.all(MarkSeen) if one.device == made.device), None)
        events, _ = history.place(made)
        if marks and seen is not None:
            events.insert(-1, msgspec.structs.replace(seen, t=t, delivered=seen.delivered))
            return True
        if not marks:
            events.insert(-1, PresenceSeen(t, made.device, made.user, "offline", 1 << 40))
            return True
    return False


def _see_elsewhere(
    history: History, chance: random.Random, see: Callable[[Cursors, str], AnyEvent]
) -> bool:
    """A device sees something of a conversation in which its user never was: only another is (whose device is named)."""
    made = {one.device: one for one in history.all(DeviceMade)}
    for end in ends(history, chance):
        for other in made.values():
            if other.user != made[end.device].user and history.stored is not None:
                insert_before(history, end, see(end, other.id))
                history.stored.append(StoredConversation("elsewhere", 1, 1, "all", ()))
                history.stored.append(Stay("elsewhere", other.user, 1, None))
                return True
    return False


def _mark_elsewhere(history: History, chance: random.Random) -> bool:
    return _see_elsewhere(
        history, chance, lambda end, of: MarkSeen(end.t - 1, end.device, "elsewhere", of, 1, 0)
    )


def _read_elsewhere(history: History, chance: random.Random) -> bool:
    old = (Change(1, "m", 1, 1, None, None, 7),)
    return _see_elsewhere(
        history,
        chance,
        lambda end, _: Fetched(end.t - 1, end.device, end.t - 2, "elsewhere", None, old),
    )


def _edits(history: History, chance: random.Random) -> list[tuple[Sent, Acked]]:
    """Edits that were promised."""
    asked = {sent.client_id: sent for sent in history.all(Sent) if sent.what == "edit"}
    acks = shuffled(history.all(Acked), chance)
    return [(asked[ack.client_id], ack) for ack in acks if ack.client_id in asked]


def _store_refused_edit(history: History, chance: random.Random) -> bool:
    """An edit is stored that was refused for good."""
    rows = newest(history)
    for sent, ack in _edits(history, chance):
        events, end = history.place(ack)
        _, begin = history.place(sent)
        ended = (isinstance(one, Closed) and one.device == ack.device for one in events[begin:end])
        if rows[ack.message].version == ack.version and not any(ended):
            events[end] = Refused(
                ack.t, ack.device, ack.client_id, "conflict", definite=True, final=True
            )
            return True
    return False


def _apply_twice(history: History, chance: random.Random) -> bool:
    """An edit is promised again, as the change that came after it."""
    later = {(ack.message, ack.version): ack for ack in history.all(Acked)}
    for _, ack in _edits(history, chance):
        after = later.get((ack.message, ack.version + 1))
        if after is not None:
            again = msgspec.structs.replace(ack, t=after.t, seq=after.seq, version=after.version)
            history.replace(ack, ack, again)
            return True
    return False


def _promise_twice(history: History, chance: random.Random) -> bool:
    """Two devices edit the same version of a message, and both are promised the next one."""
    for sent, ack in _edits(history, chance):
        made = next(one for one in history.all(DeviceMade) if one.device == sent.device)
        rival, key = OUTSIDER + made.device, f"{sent.client_id}.rival"
        other = {"device": rival, "client_id": key}
        history.replace(made, made, msgspec.structs.replace(made, device=rival, id="rival"))
        digest = sent.digest ^ 1
        history.replace(sent, sent, msgspec.structs.replace(sent, **other, digest=digest))
        history.replace(ack, ack, msgspec.structs.replace(ack, **other))
        return True
    return False


def _promise_number(history: History, chance: random.Random) -> bool:
    """An edit is promised under the number of the next message; another edit has replaced it since."""
    rows = newest(history)
    foreign = {
        (line.conversation, row.seq)
        for line in history.all_stored(StoredConversation)
        for row in line.changes
        if row.client_id is None
    }
    for sent, ack in _edits(history, chance):
        place = sent.conversation, ack.seq + 1
        if rows[ack.message].version > ack.version and place in foreign:
            history.replace(ack, msgspec.structs.replace(ack, seq=ack.seq + 1))
            return True
    return False


def _store_of_former(history: History, chance: random.Random) -> bool:
    """What somebody says who has left is stored, and everybody is shown it."""
    lines = {line.conversation: line for line in history.all_stored(StoredConversation)}
    connected = ends(history, chance)
    for end in connected:
        for name, line in lines.items():
            stays = stays_of(history, end.device, name)
            if stays and stays[-1].left is not None:
                _say(history, end, line, connected)
                return True
    return False


def _say(
    history: History, author: Cursors, line: StoredConversation, everyone: Sequence[Cursors]
) -> None:
    """A message of this device becomes the last one of a conversation, and all who are in it and there have it."""
    key, seq, name = f"{RUN}.{author.device}.former", line.last_seq + 1, line.conversation
    made = next(one for one in history.all(DeviceMade) if one.device == author.device)
    row = Change(seq, "former", seq, 1, made.id, key, 9)
    stored = msgspec.structs.replace(line, last_seq=seq, changes=(*line.changes, row))
    history.alter_stored(line, stored)
    t = min(end.t for end in everyone)
    sent = Sent(t - 2, author.device, t - 2, key, name, 9)
    insert_before(history, author, sent, Acked(t - 1, author.device, key, row.id, seq, seq, 1))
    for end in everyone:
        stays = stays_of(history, end.device, name)
        if stays and stays[-1].left is None:
            deliver(history, end, Page(end.t, 0, name, seq - 1, seq, (row,)), device=end.device)
            set_cursor(history, end.device, name, seq)


def _skip_and_end(history: History, chance: random.Random) -> bool:
    """A frame is left out, the next one comes, and the device ends without asking: it has lost its connection."""
    ended = {end.device for end in history.all(Cursors) if not end.connected}
    begun = {opened.device: opened.t for opened in history.all(Opened)}
    for one in shuffled(arrivals(history), chance):
        page, device = one.page, one.event.device
        apart = page.upto > page.since + 1 and not one.first and not leaves(history, one)
        if one.last and apart and device in ended and begun[device] < one.event.t:
            changes = tuple(change for change in page.changes if change.seq > page.since + 1)
            late = msgspec.structs.replace(page, since=page.since + 1, changes=changes)
            deliver(history, one.event, late, device=device)
            history.remove(one.event)
            set_cursor(history, device, page.conversation, page.since)
            return True
    return False


MUTANTS = (
    Mutant("lost", "a device is told that its user has left, who has not", _send_away),
    Mutant(
        "inconsistent", "a device ends as one whose user has left, who has not", _send_away_at_last
    ),
    Mutant("lost", "a new feed begins beyond what is for the device", _begin_late),
    Mutant("diverged order", "a replaced change comes under another's number", _take_number),
    Mutant("inconsistent", "a replaced change comes as somebody else's", _rename_earlier),
    Mutant("lost ack", "a conversation is promised to that is not stored", _promise_nowhere),
    Mutant(
        "delivery after a fence",
        "a revoked device is shown who is here",
        partial(_tell_revoked, marks=False),
    ),
    Mutant(
        "delivery after a fence",
        "a revoked device is shown marks",
        partial(_tell_revoked, marks=True),
    ),
    Mutant("misrouted", "marks come of a conversation that is not the user's", _mark_elsewhere),
    Mutant("aborted read", "an edit is stored that was refused for good", _store_refused_edit),
    Mutant("duplicated", "an edit is promised as two changes", _apply_twice),
    Mutant("inconsistent", "two edits are promised as the same version", _promise_twice),
    Mutant("inconsistent", "an edit is promised under another's number", _promise_number),
    Mutant("misrouted", "what a former member says is stored and shown", _store_of_former),
    Mutant("gap", "a frame is left out before a connection ends", _skip_and_end),
    Mutant("misrouted", "a conversation is read that is not the user's", _read_elsewhere),
)
