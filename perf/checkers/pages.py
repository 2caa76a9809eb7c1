"""Judges the content of frames against the truth: once for each distinct frame, not for each device.

What is wrong with a frame is a `Flaw`; whom it did harm is found out by `views`. That no two devices
disagree about the order follows: equal numbers mean equal changes, and each device passes them upwards.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from perf.checkers.judgement import Judgement
from perf.checkers.operations import Operation
from perf.checkers.truth import Thread, Truth
from perf.history.events import Change, Page
from perf.history.reader import UNSEEN, Evidence

LOOK_BACK = 1_000  # of a frame's replaced changes: how many are compared with the time


class Wrong(NamedTuple):
    """A change in a frame that should not be there, or not like this. `what` continues "received …"."""

    name: str
    what: str
    seq: int


@dataclass(frozen=True, slots=True)
class Flaw:
    """`missing`: stored changes that the frame leaves out. `early`: one that it leaves out though
    nobody had asked to replace it before the moment `until` (ns)."""

    missing: tuple[int, ...] = ()
    wrong: tuple[Wrong, ...] = ()
    early: int = 0
    until: int = 0


def examine(evidence: Evidence, truth: Truth, judgement: Judgement) -> dict[int, Flaw]:
    """The flaws of all pages that have any, by the page's index."""
    doubtful = [index for index, page in enumerate(evidence.pages) if not _is_exact(page, truth)]
    _note_replaced(evidence, truth, doubtful)
    flaws: dict[int, Flaw] = {}
    for index in doubtful:
        page = evidence.pages[index]
        thread = truth.threads.get(page.conversation)
        found = _diagnose(page, thread, truth) if thread is not None else _unknown(page)
        if found is not None:
            flaws[index] = found
    for index, page in enumerate(evidence.pages):
        thread = truth.threads.get(page.conversation)
        seen = evidence.first_seen[index] != UNSEEN
        if thread is not None and seen and len(page.changes) < page.upto - page.since:
            judgement.happen("compaction", f"({page.since}, {page.upto}] of {page.conversation}")
            judgement.tolerate("superseded", page.upto - page.since - len(page.changes))
            early = _left_out_early(page, thread, evidence.first_seen[index])
            if early is not None:
                known = flaws.get(index, Flaw())
                flaws[index] = Flaw(known.missing, known.wrong, *early)
    return flaws


def _is_exact(page: Page, truth: Truth) -> bool:
    """Whether a frame has exactly the stored changes of its range: most frames, at little cost."""
    thread = truth.threads.get(page.conversation)
    return thread is not None and page.changes == thread.between(page.since, page.upto)


def _note_replaced(evidence: Evidence, truth: Truth, doubtful: list[int]) -> None:
    """Find out what each replaced change was, from all that showed or promised one."""
    for index in doubtful:
        page = evidence.pages[index]
        thread = truth.threads.get(page.conversation)
        for change in page.changes if thread is not None else ():
            thread.note(change.seq, change.id, change.version)  # type: ignore[union-attr]
    for operation in truth.operations.values():
        thread = truth.threads.get(operation.sent.conversation)
        if thread is not None:
            for ack in operation.acks[:1]:
                is_send = operation.sent.what == "send"
                seq, version = (ack.position, 1) if is_send else (ack.seq, ack.version)
                thread.note(seq, ack.message, version)
    for thread in truth.threads.values():
        thread.replaced = [] if thread.inferred else sorted(_asked(thread, truth))


def _asked(thread: Thread, truth: Truth) -> Iterator[tuple[int, int]]:
    for seq, (message, version) in thread.owners.items():
        replacement = truth.made.get((message, version + 1))
        if replacement is not None:
            yield seq, replacement.sent.t


def _left_out_early(page: Page, thread: Thread, first: int) -> tuple[int, int] | None:
    """A replaced change may be left out, but not before its replacement was asked for: the change
    and that moment, if somebody was shown the frame (at `first`) earlier."""
    present = {change.seq for change in page.changes}
    high = bisect_right(thread.replaced, (page.upto, UNSEEN))
    for seq, asked in reversed(thread.replaced[max(high - LOOK_BACK, 0) : high]):
        if seq <= page.since:
            return None
        if asked > first and seq not in present:
            return seq, asked
    return None


def _unknown(page: Page) -> Flaw:
    what = f"a frame of conversation {page.conversation}, which is not stored"
    return Flaw(wrong=(Wrong("phantom", what, page.upto),))


def _diagnose(page: Page, thread: Thread, truth: Truth) -> Flaw | None:
    """Say what is wrong with a frame, change by change."""
    wrong = [*_disorder(page)]
    for change in page.changes:
        if change.seq > thread.since:
            wrong.extend(judge_change(change, thread, truth))
    shown = {change.seq for change in page.changes} | {one.seq for one in wrong}
    named = {change.id for change in page.changes if change.seq not in thread.owners}
    missing = tuple(
        row.seq
        for row in (() if thread.inferred else thread.between(page.since, page.upto))
        if row.seq not in shown and row.id not in named
    )
    return Flaw(missing, tuple(wrong)) if missing or wrong else None


def _disorder(page: Page) -> Iterator[Wrong]:
    """Changes of a frame are in the order of their numbers, once each, and in its range."""
    before, seen = page.since, set[int]()
    for change in page.changes:
        where = f"in one frame of conversation {page.conversation}"
        if change.seq in seen:
            yield Wrong("duplicated", f"change {change.seq} twice {where}", change.seq)
        elif change.seq <= before:
            yield Wrong(
                "reordered", f"change {change.seq} after change {before} {where}", change.seq
            )
        elif change.seq > page.upto:
            yield Wrong(
                "inconsistent", f"change {change.seq} beyond {page.upto} {where}", change.seq
            )
        before = max(before, change.seq)
        seen.add(change.seq)


def judge_change(change: Change, thread: Thread, truth: Truth) -> Iterator[Wrong]:
    """Compare one change that somebody saw with what is stored."""
    row = thread.by_id.get(change.id)
    if row == change:
        return
    label = f"change {change.seq} (message {change.id}) in conversation {thread.name}"
    if row is None:
        yield from _not_stored(change, label, truth)
    elif change.seq == row.seq:
        yield from _same_change(change, row, label)
    elif change.version == row.version:
        what = f"{label}, which all others know as change {row.seq}"
        yield Wrong("diverged order", what, change.seq)
    elif change.seq > row.seq:
        what = f"{label}, but the newest that is stored of it is change {row.seq}"
        yield Wrong("inconsistent", what, change.seq)
    else:
        yield from _earlier_change(change, row, label, thread, truth)


def _not_stored(change: Change, label: str, truth: Truth) -> Iterator[Wrong]:
    operation = truth.operations.get(change.client_id or "")
    if operation is None:
        yield Wrong("phantom", f"{label}, which nobody sent and which is not stored", change.seq)
    elif operation.acks:
        promised = {ack.message for ack in operation.acks}
        if change.id not in promised:  # else the promise was broken, too, and is judged as such
            what = f"{label}, which is not stored, and was promised as message {min(promised)}"
            yield Wrong("inconsistent", what, change.seq)
    elif operation.outcome == "failed":
        yield Wrong("aborted read", f"{label}, which was refused for good", change.seq)
    else:
        yield Wrong("inconsistent", f"{label}, which is not stored", change.seq)


def _same_change(change: Change, row: Change, label: str) -> Iterator[Wrong]:
    """The number agrees, something else does not."""
    if change.version < row.version or (row.deleted and not change.deleted):
        what = f"{label} in version {change.version}, though it is version {row.version}"
        yield Wrong("resurrected", what, change.seq)
    elif change.position != row.position:
        what = f"{label} at position {change.position}, which all others place at {row.position}"
        yield Wrong("diverged order", what, change.seq)
    elif (change.version, change.deleted, _source(change)) != (
        *(row.version, row.deleted, _source(row)),
    ):
        yield Wrong("inconsistent", f"{label} unlike it is stored", change.seq)
    elif change.digest != row.digest:
        yield Wrong("corrupt", f"{label} with another body than is stored", change.seq)
    elif change.envelope != row.envelope:
        what = f"{label} as another kind or answer or with other files than is stored"
        yield Wrong("corrupt", what, change.seq)
    elif change.details != row.details:
        what = f"{label} with other moments of its edit or deletion, or files of other names or sizes, than is stored"
        yield Wrong("corrupt", what, change.seq)


def _earlier_change(
    change: Change, row: Change, label: str, thread: Thread, truth: Truth
) -> Iterator[Wrong]:
    """A change that was replaced since."""
    made = truth.made.get((change.id, change.version))
    owner = thread.owner(change.seq)
    if change.version > row.version or (change.deleted and not row.deleted):
        what = f"{label} in version {change.version}, later than what is stored"
        yield Wrong("resurrected", what, change.seq)
    elif change.position != row.position:
        what = f"{label} at position {change.position}, which all others place at {row.position}"
        yield Wrong("diverged order", what, change.seq)
    elif owner != (change.id, change.version) and change.seq > thread.since:
        whose = f"version {owner[1]} of {owner[0]}" if owner is not None else "no first version"
        what = f"{label} in version {change.version}, though this number is that of {whose}"
        yield Wrong("diverged order", what, change.seq)
    elif _source(change) != _source(row):
        what = f"{label} as another's, or of another moment, than it is stored"
        yield Wrong("inconsistent", what, change.seq)
    elif made is not None and not change.deleted:
        yield from _unlike_sent(change, made, label, truth)


def _source(change: Change) -> tuple[str | None, str | None, int]:
    """Whose a message is and of when, which nothing changes."""
    return change.device, change.client_id, change.origin


def _unlike_sent(change: Change, made: Operation, label: str, truth: Truth) -> Iterator[Wrong]:
    send = truth.operations.get(change.client_id or "")
    if made.sent.digest != change.digest:
        yield Wrong("corrupt", f"{label} with another body than was sent", change.seq)
    elif send is not None and send.sent.envelope != change.envelope:
        what = f"{label} as another kind or answer or with other files than was sent"
        yield Wrong("corrupt", what, change.seq)
