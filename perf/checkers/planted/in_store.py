"""Mutants of the store, the promises and the reads."""

from __future__ import annotations

import random
from functools import partial

import msgspec

from perf.checkers.planted.model import SYSTEM_DIGEST
from perf.checkers.planted.mutant import (
    Mutant,
    alter_everywhere,
    arrivals,
    newest,
    open_rooms,
    shuffled,
)
from perf.history.events import (
    Acked,
    Change,
    Closed,
    Fetched,
    Page,
    Refused,
    Sent,
    StoredConversation,
)
from perf.history.memory import History


def _promised(history: History, chance: random.Random) -> list[tuple[Sent, Acked, Change]]:
    """Sends that were promised and are stored as they were sent."""
    sends = {sent.client_id: sent for sent in history.all(Sent) if sent.what == "send"}
    rows = newest(history)
    return [
        (sends[ack.client_id], ack, rows[ack.message])
        for ack in shuffled(history.all(Acked), chance)
        if ack.client_id in sends and rows[ack.message].version == 1
    ]


def _foreign(history: History, chance: random.Random) -> list[Change]:
    """Stored messages that none of the devices sent."""
    return [
        row
        for row in shuffled(newest(history).values(), chance)
        if row.device is None and row.version == 1 and row.digest != SYSTEM_DIGEST
    ]


def _store_twice(history: History, chance: random.Random) -> bool:
    for _, _, row in _promised(history, chance):
        for other in _foreign(history, chance):
            copy = other._replace(device=row.device, client_id=row.client_id)
            alter_everywhere(history, {other: copy})
            return True
    return False


def _leave_number_out(history: History, chance: random.Random) -> bool:
    """A message is nowhere, and its number was never used."""
    lines = history.all_stored(StoredConversation)
    plain = {
        row.id for line in lines if all(r.version < 3 for r in line.changes) for row in line.changes
    }
    plain -= {change.id for event in history.all(Fetched) for change in event.changes}
    for row in _foreign(history, chance):
        if row.id in plain:
            alter_everywhere(history, {row: None})
            return True
    return False


def _forget_request(history: History, chance: random.Random) -> bool:
    for sent, _, _ in _promised(history, chance):
        for events in history.files:
            events[:] = [one for one in events if getattr(one, "client_id", "") != sent.client_id]
        return True
    return False


def _store_elsewhere(history: History, chance: random.Random) -> bool:
    """A message is stored in another conversation than it was sent to."""
    names = [line.conversation for line in history.all_stored(StoredConversation)]
    for sent, _, _ in _promised(history, chance):
        other = next(name for name in names if name != sent.conversation)
        history.replace(sent, msgspec.structs.replace(sent, conversation=other))
        return True
    return False


def _store_corrupt(history: History, chance: random.Random) -> bool:
    for sent, _, _ in _promised(history, chance):
        history.replace(sent, msgspec.structs.replace(sent, digest=sent.digest ^ 1))
        return True
    return False


def _store_without_files(history: History, chance: random.Random) -> bool:
    for sent, _, _ in _promised(history, chance):
        history.replace(sent, msgspec.structs.replace(sent, envelope=sent.envelope ^ 1))
        return True
    return False


def _undelete_stored(history: History, chance: random.Random) -> bool:
    """A deletion is promised, but the message is still there."""
    deletions = {sent.client_id for sent in history.all(Sent) if sent.what == "delete"}
    for ack in shuffled(history.all(Acked), chance):
        if ack.client_id in deletions:
            row = newest(history)[ack.message]
            alter_everywhere(history, {row: row._replace(deleted=False, digest=9)})
            return True
    return False


def _read_without(history: History, chance: random.Random) -> bool:
    """A page of a read lacks a message that had been delivered before."""
    rooms = open_rooms(history)
    for event in shuffled(history.all(Fetched), chance):
        if event.conversation not in rooms:
            continue
        known = {
            change.id
            for one in arrivals(history)
            if one.event.t < event.asked
            for change in one.page.changes
        }
        for change in event.changes[:-1]:
            if change.id in known:
                changes = tuple(x for x in event.changes if x != change)
                history.replace(event, msgspec.structs.replace(event, changes=changes))
                return True
    return False


def _read_earlier(history: History, chance: random.Random, *, deleted: bool) -> bool:
    """A page of a read has a message as it was before a change that had been promised."""
    versions: dict[tuple[str, int], Change] = {}
    for page in history.all(Page):
        for change in page.changes:
            versions[change.id, change.version] = change
    rooms = open_rooms(history)
    for event in shuffled(history.all(Fetched), chance):
        known = {
            change
            for one in arrivals(history)
            if one.event.t < event.asked
            for change in one.page.changes
        }
        for change in event.changes:
            before = versions.get((change.id, change.version - 1))
            seen = change in known and event.conversation in rooms
            if seen and before is not None and change.deleted == deleted:
                changes = tuple(before if x == change else x for x in event.changes)
                history.replace(event, msgspec.structs.replace(event, changes=changes))
                return True
    return False


def _reads(history: History, chance: random.Random) -> list[Fetched]:
    return [event for event in shuffled(history.all(Fetched), chance) if len(event.changes) > 1]


def _read_crossed(history: History, chance: random.Random) -> bool:
    for event in _reads(history, chance):
        changes = (event.changes[1], event.changes[0], *event.changes[2:])
        history.replace(event, msgspec.structs.replace(event, changes=changes))
        return True
    return False


def _read_twice(history: History, chance: random.Random) -> bool:
    for event in _reads(history, chance):
        changes = (event.changes[0], *event.changes)
        history.replace(event, msgspec.structs.replace(event, changes=changes))
        return True
    return False


def _store_refused(history: History, chance: random.Random) -> bool:
    """A message that is stored was refused for good."""
    for sent, ack, _ in _promised(history, chance):
        events, end = history.place(ack)
        _, begin = history.place(sent)
        if not any(
            isinstance(one, Closed) and one.device == ack.device for one in events[begin:end]
        ):
            refused = Refused(
                ack.t, ack.device, ack.client_id, "forbidden", definite=True, final=True
            )
            history.replace(ack, refused)
            return True
    return False


def _lose_promise(history: History, chance: random.Random) -> bool:
    """What was promised is nowhere; somebody else's message has its number."""
    for _, _, row in _promised(history, chance):
        other = row._replace(id="other", device=None, client_id=None)
        alter_everywhere(history, {row: other})
        return True
    return False


def _lose_edit(history: History, chance: random.Random) -> bool:
    """A version is promised that is not stored."""
    rows = newest(history)
    edits = {sent.client_id for sent in history.all(Sent) if sent.what == "edit"}
    read = {change.id for event in history.all(Fetched) for change in event.changes}
    for ack in shuffled(history.all(Acked), chance):
        if ack.message in read:
            continue  # the reads would be stale, too
        if ack.client_id in edits and rows[ack.message].version == ack.version:
            history.replace(ack, msgspec.structs.replace(ack, version=ack.version + 1))
            return True
    return False


def _promise_other(history: History, chance: random.Random) -> bool:
    for _, ack, _ in _promised(history, chance):
        history.replace(ack, msgspec.structs.replace(ack, message="other"))
        return True
    return False


def _invert(history: History, chance: random.Random) -> bool:
    """A message has a lower number than one that everybody knew before it was sent."""
    for sent, _, row in _promised(history, chance):
        later = [
            one
            for one in arrivals(history)
            if one.page.conversation == sent.conversation
            and any(change.seq > row.position for change in one.page.changes)
        ]
        if later:
            t = min(one.event.t for one in later) + 1
            history.replace(sent, msgspec.structs.replace(sent, t=t))
            return True
    return False


def _cross(history: History, chance: random.Random) -> bool:
    """Two requests that were on their way together are stored the other way round."""
    requests = [(sent, ack, row) for sent, ack, row in _promised(history, chance)]
    for one, ack, row in requests:
        for other, _, _ in requests:
            if other.device == one.device and other.conversation == one.conversation:
                together = one.t < other.t < ack.t
                if together and not _known(history, one.conversation, row.position, before=other.t):
                    return _exchange_begins(history, one, other)
    return False


def _known(history: History, conversation: str, seq: int, *, before: int) -> bool:
    """Whether anybody knew of a change this new before a moment."""
    promised = any(ack.seq >= seq and ack.t < before for ack in history.all(Acked))
    shown = any(
        one.page.conversation == conversation and one.page.upto >= seq and one.event.t < before
        for one in arrivals(history)
    )
    return promised or shown


def _exchange_begins(history: History, one: Sent, other: Sent) -> bool:
    history.replace(other, msgspec.structs.replace(one, t=other.t, intended=other.intended))
    history.replace(one, msgspec.structs.replace(other, t=one.t, intended=one.intended))
    between = [
        sent
        for sent in history.all(Sent)
        if sent.device == one.device and sent.conversation == one.conversation
    ]
    return bool(between)


MUTANTS = (
    Mutant("duplicated", "a request is stored twice", _store_twice),
    Mutant("gap", "a number is never used", _leave_number_out),
    Mutant("phantom", "a message is stored that nobody sent", _forget_request),
    Mutant("misrouted", "a message is stored in another conversation", _store_elsewhere),
    Mutant("corrupt", "a message is stored with another body", _store_corrupt),
    Mutant("corrupt", "a message is stored without its files", _store_without_files),
    Mutant("resurrected", "a deletion is promised and not done", _undelete_stored),
    Mutant("resurrected", "a read shows a deleted message", partial(_read_earlier, deleted=True)),
    Mutant("stale read", "a read lacks a message that was known", _read_without),
    Mutant(
        "stale read",
        "a read shows an earlier version than was known",
        partial(_read_earlier, deleted=False),
    ),
    Mutant("reordered", "two messages of a read change places", _read_crossed),
    Mutant("duplicated", "a message is in one read twice", _read_twice),
    Mutant("aborted read", "a refused message is stored", _store_refused),
    Mutant("lost ack", "a promised message is not stored", _lose_promise),
    Mutant("lost ack", "a promised edit is not stored", _lose_edit),
    Mutant("inconsistent", "a promise names another message", _promise_other),
    Mutant("realtime inversion", "a message comes before one that was known", _invert),
    Mutant("nonmonotonic send", "two requests of a device are stored the other way round", _cross),
)
