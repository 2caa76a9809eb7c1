"""What had to arrive and did not: each device's view at the end against what is stored for it.

A device that was away when the run ended, or in a run that was cut off, may get the rest later:
that is pending, not lost. A change that arrived beyond a hole was not lost either.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping

from perf.checkers.judgement import Judgement
from perf.checkers.seats import Seat, View, lose
from perf.checkers.truth import Truth
from perf.history.events import Page, StoredMark
from perf.history.reader import Evidence


def settle(evidence: Evidence, truth: Truth, seats: Iterable[Seat], judgement: Judgement) -> None:
    """Account for every stored change and every device that it is for."""
    marks = {(mark.conversation, mark.device): mark for mark in evidence.marks}
    for seat in seats:
        _open_unseen(seat, truth, marks)
        for view in seat.views.values():
            if view.thread is not None and view.limit >= 0:
                _account(seat, view, evidence, judgement)
    judgement.expected = judgement.ledger.obligations


def _open_unseen(seat: Seat, truth: Truth, marks: Mapping[tuple[str, str], StoredMark]) -> None:
    """A member's device that was never told of a conversation has seen nothing beyond its mark."""
    device, user = seat.log.device.id, seat.log.device.user
    if not seat.sessions:
        return
    for thread in truth.threads.values():
        stays = thread.stays.get(user)
        if not stays or thread.name in seat.views:
            continue
        mark = marks.get((thread.name, device))
        start = mark.delivered if mark is not None else max(stay.joined for stay in stays) - 1
        start = max(start, thread.since)
        seat.views[thread.name] = View(thread, thread.end(user), start, start)


def _account(seat: Seat, view: View, evidence: Evidence, judgement: Judgement) -> None:
    thread, user, ledger = view.thread, seat.log.device.user, judgement.ledger
    assert thread is not None
    end = min(thread.last, view.limit)
    if thread.since_joined:
        owed = [row.seq for row in thread.between(view.start, end) if thread.owes(user, row.seq)]
    else:
        low, high = bisect_right(thread.seqs, view.start), bisect_right(thread.seqs, end)
        owed = thread.seqs[low:high]
    missing = owed[bisect_right(owed, view.cursor) :]
    ledger.obligations += len(owed)
    ledger.delivered += len(owed) - len(missing) - len(view.lost.intersection(owed))
    judgement.check("lost", times=len(owed))
    if not seat.connected:
        ledger.pending += len(missing)
        return
    for seq in missing:
        if any(_covers(evidence.pages[entry], seq) for entry in view.beyond):
            ledger.delivered += 1  # it is there, though the client could not apply it
        else:
            reason = f"it ended at cursor {view.cursor}, though it was connected"
            lose(judgement, seat, view, seq, reason)


def _covers(page: Page, seq: int) -> bool:
    return page.since < seq <= page.upto and any(change.seq == seq for change in page.changes)
