"""Pages read over REST: each shows at least everything that was known before it was asked for.

A page is a slice by `position`, newest first, without holes: so of every message in its range that
somebody knew by then it shows that state or a later one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from perf.checkers.judgement import Judgement
from perf.checkers.pages import Wrong, judge_change
from perf.checkers.truth import FOREVER, Thread, Truth
from perf.history.events import Change, Fetched
from perf.history.reader import UNSEEN, Evidence


@dataclass(slots=True)
class Shelf:
    """A conversation's messages by position, and when which version of each was known."""

    thread: Thread
    positions: list[int]
    rows: list[Change]
    known: dict[str, list[tuple[int, int, bool]]]  # message -> (moment, version, deleted)


def examine(evidence: Evidence, truth: Truth, judgement: Judgement) -> None:
    """Judge every page that was read."""
    shelves: dict[str, Shelf] = {}
    for event in evidence.events:
        if isinstance(event, Fetched) and event.conversation in truth.threads:
            shelf = shelves.get(event.conversation)
            if shelf is None:
                thread = truth.threads[event.conversation]
                shelf = shelves[event.conversation] = _shelf(thread, evidence, truth)
            log = evidence.logs.get(event.device)
            _judge(event, shelf, log.device.user if log is not None else "", truth, judgement)


def _shelf(thread: Thread, evidence: Evidence, truth: Truth) -> Shelf:
    rows = sorted(thread.rows, key=lambda row: row.position)
    known: dict[str, list[tuple[int, int, bool]]] = {}
    for page, first in zip(evidence.pages, evidence.first_seen, strict=True):
        if page.conversation == thread.name and first != UNSEEN:
            for change in page.changes:
                fact = (first, change.version, change.deleted)
                known.setdefault(change.id, []).append(fact)
    for operation in truth.operations.values():
        if operation.sent.conversation == thread.name:
            for ack in operation.acks:
                fact = (ack.t, ack.version, operation.sent.what == "delete")
                known.setdefault(ack.message, []).append(fact)
    return Shelf(thread, [row.position for row in rows], rows, known)


def _judge(event: Fetched, shelf: Shelf, user: str, truth: Truth, judgement: Judgement) -> None:
    judgement.check("stale read", "misrouted", "reordered", "duplicated")
    thread = shelf.thread
    for change in event.changes:
        thread.note(change.seq, change.id, change.version)
    found = [
        wrong
        for change in event.changes
        if change.seq > thread.since
        for wrong in judge_change(change, thread, truth)
    ]
    found.extend(_misplaced(event, thread, user))
    if not thread.inferred:  # else nobody knows what is hidden from whom
        found.extend(_outdated(event, shelf, user))
    for name, what, seq in found:
        judgement.convict(
            name,
            f"Device {event.device} read {what}.",
            conversation=thread.name,
            device=event.device,
            seqs=(seq,),
        )


def _misplaced(event: Fetched, thread: Thread, user: str) -> Iterator[Wrong]:
    """What is not for this reader, and what is not in its place: newest first, each once, below `before`."""
    above = FOREVER if event.before is None else event.before
    for at, change in enumerate(event.changes):
        where = f"message {change.id} of conversation {thread.name} at position {change.position}"
        if not thread.permits(user, change.position):
            yield Wrong("misrouted", f"{where}, which its user may not see", change.seq)
        if at and change.position == above:
            yield Wrong("duplicated", f"{where}, twice in one page", change.seq)
        elif change.position >= above:
            yield Wrong(
                "reordered", f"{where}, though the page was to go on below {above}", change.seq
            )
        above = min(above, change.position)


def _outdated(event: Fetched, shelf: Shelf, user: str) -> Iterator[Wrong]:
    """Messages of the page's range that were known in a later state, or at all, before it was asked."""
    shown = {change.id: change for change in event.changes}
    low = min((change.position for change in event.changes), default=0)
    high = FOREVER if event.before is None else event.before
    start, end = bisect_left(shelf.positions, low), bisect_left(shelf.positions, high)
    for row in shelf.rows[start:end]:
        facts = [fact for fact in shelf.known.get(row.id, ()) if fact[0] < event.asked]
        if not facts or not shelf.thread.owes(user, row.position):
            continue
        _, version, deleted = max(facts, key=lambda fact: fact[1])
        change = shown.get(row.id)
        where = f"message {row.id} of conversation {shelf.thread.name}"
        if change is None:
            what = f"a page without {where}, which had been known before"
            yield Wrong("stale read", what, row.seq)
        elif change.version < version and deleted:
            what = f"{where} in version {change.version}, though it had been deleted before"
            yield Wrong("resurrected", what, row.seq)
        elif change.version < version:
            what = f"{where} in version {change.version}, though version {version} had been known before"
            yield Wrong("stale read", what, row.seq)
