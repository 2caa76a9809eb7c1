"""Judges a run's history against the database: by identities, never by sums. Pure.

What is stored is the truth; a device's log must be exactly the stored changes of its
conversations, once each, in order, and every promise must be kept. `Evidence` says how much was
looked at: a run in which nothing happened proves nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from perf.checkers.judgement import Judgement
from perf.history import Entry, History, Log, Page


class Row(NamedTuple):
    """A stored message: its latest change number, its id, and who sent it under which key."""

    seq: int
    id: str
    device: str | None
    client_id: str | None


@dataclass(kw_only=True)
class Stored:
    """What the database has of a conversation beyond the cursors with which the run began."""

    last_seq: int
    rows: Sequence[Row]  # in `seq` order


def judge(history: History, stored: Mapping[str, Stored]) -> Judgement:
    """Compare everything the devices saw and were promised with what is stored."""
    judgement = Judgement(messages=sum(len(one.rows) for one in stored.values()))
    _judge_stored(history, stored, judgement)
    _judge_promises(history, stored, judgement)
    faithful: dict[int, bool] = {}
    for log in history.logs.values():
        _judge_log(log, stored, faithful, judgement)
    return judgement


def _judge_stored(history: History, stored: Mapping[str, Stored], judgement: Judgement) -> None:
    """Every key is stored once, and no device of ours stored what it never sent."""
    keys: set[tuple[str, str]] = set()
    for conversation, one in stored.items():
        for row in one.rows:
            if row.device not in history.logs or row.client_id is None:
                continue
            key = (row.device, row.client_id)
            if key in keys:
                judgement.convict(
                    "duplicated", f"{row.client_id} is stored twice in {conversation}"
                )
            keys.add(key)
            if history.sent.get(row.client_id) != row.device:
                judgement.convict("phantom", f"{row.client_id} is stored, but nobody sent it")


def _judge_promises(history: History, stored: Mapping[str, Stored], judgement: Judgement) -> None:
    """What was acknowledged is stored, under the id and at the place that was promised."""
    by_key = {
        (row.device, row.client_id): row
        for one in stored.values()
        for row in one.rows
        if row.client_id is not None
    }
    for promise in history.promises:
        judgement.promises += 1
        row = by_key.get((promise.device, promise.client_id))
        if row is None:
            judgement.convict("lost", f"{promise.client_id} was acknowledged, but is not stored")
        elif row.id != promise.message or row.seq < promise.seq:
            judgement.convict(
                "inconsistent",
                f"{promise.client_id} was promised as {promise.message} at {promise.seq}, "
                f"but is {row.id} at {row.seq}",
            )


def _judge_log(
    log: Log, stored: Mapping[str, Stored], faithful: dict[int, bool], judgement: Judgement
) -> None:
    """A device saw exactly what is stored: page by page, else entry by entry to say what is wrong."""
    if log.holes:
        judgement.convict(
            "gap", f"device {log.device} was sent {log.holes} frames beyond its cursor"
        )
    pages: dict[str, list[Page]] = {name: [] for name in log.starts}
    for page in log.pages:
        pages.setdefault(page.conversation, []).append(page)
        judgement.deliveries += len(page.entries)
    for conversation, seen in pages.items():
        one = stored.get(conversation)
        if one is None:
            if seen:
                judgement.convict(
                    "phantom", f"device {log.device} saw {conversation}, which is not stored"
                )
            continue
        start = log.starts.get(conversation, 0)
        judgement.expected += len(one.rows) - _after(one, start)
        if not _is_exact(seen, start, one, faithful):
            where = f"device {log.device}, conversation {conversation}"
            _diagnose(where, start, seen, one, judgement)


def _is_exact(seen: Sequence[Page], start: int, stored: Stored, faithful: dict[int, bool]) -> bool:
    """Whether the pages join without a hole from `start` to the end and each is what is stored."""
    cursor = start
    for page in seen:
        if page.since != cursor:
            return False
        cursor = page.upto
        known = faithful.get(id(page))
        if known is None:
            known = faithful[id(page)] = list(_range(stored, page.since, page.upto)) == [
                entry[:2] for entry in page.entries
            ]
        if not known:
            return False
    return cursor == stored.last_seq


def _range(stored: Stored, since: int, upto: int) -> Iterator[tuple[int, str]]:
    """The stored changes in (since, upto]."""
    for index in range(_after(stored, since), len(stored.rows)):
        row = stored.rows[index]
        if row.seq > upto:
            return
        yield row.seq, row.id


def _after(stored: Stored, seq: int) -> int:
    """The index of the first row beyond `seq`."""
    return bisect_right(stored.rows, seq, key=lambda row: row.seq)


def _diagnose(
    where: str, start: int, seen: Sequence[Page], stored: Stored, judgement: Judgement
) -> None:
    """Say entry by entry what a device lacked, had twice, out of order, or from nowhere."""
    newest = {row.id: row.seq for row in stored.rows}
    delivered: set[tuple[int, str]] = set()
    highest = start
    for entry in (entry for page in seen for entry in page.entries):
        if _is_new(entry, newest, delivered, where, judgement):
            delivered.add((entry.seq, entry.id))
            if entry.seq <= highest:
                judgement.convict("reordered", f"{where}: {entry.seq} came after {highest}")
            highest = max(highest, entry.seq)
    for seq, name in _range(stored, start, stored.last_seq):
        if (seq, name) not in delivered:
            judgement.convict("lost", f"{where}: change {seq} ({name}) never came")


def _is_new(
    entry: Entry,
    newest: Mapping[str, int],
    delivered: set[tuple[int, str]],
    where: str,
    judgement: Judgement,
) -> bool:
    """Whether this is a stored change (or one that a later change replaced) that came once."""
    if (entry.seq, entry.id) in delivered:
        judgement.convict("duplicated", f"{where}: change {entry.seq} came twice")
        return False
    last = newest.get(entry.id)
    if last is None:
        judgement.convict("phantom", f"{where}: {entry.id} at {entry.seq} is not stored")
        return False
    if entry.seq > last:
        judgement.convict(
            "inconsistent", f"{where}: {entry.id} came as {entry.seq}, but is stored as {last}"
        )
        return False
    return True
