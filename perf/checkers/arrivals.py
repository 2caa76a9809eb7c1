"""What had to arrive and did not: each device's view at the end against what is stored for it.

A device that was away when the run ended, or in a run that was cut off, may get the rest later:
that is pending, not lost, and so is what became known when a device was about to leave while the
others went on. A change that arrived beyond a hole was not lost either.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate

from perf.checkers import prose
from perf.checkers.judgement import Judgement
from perf.checkers.seats import Seat, View, lose
from perf.checkers.truth import FOREVER, Thread, Truth
from perf.history.events import StoredMark
from perf.history.reader import UNSEEN, Evidence

LATE_NS = 10_000_000_000
"""Who stayed so long after a change was known should have it: twice what a lost hint may take (G6)."""


def settle(evidence: Evidence, truth: Truth, seats: Iterable[Seat], judgement: Judgement) -> None:
    """Account for every stored change and every device that it is for."""
    untold, dates, requests = Untold(evidence, truth), Dates(evidence, truth), Requests(truth)
    for seat in seats:
        untold.open(seat)
        for view in seat.views.values():
            if view.thread is not None and view.limit >= 0:
                _account(seat, view, evidence, dates, judgement)
                _look_before(seat, view, requests, judgement)
    due = judgement.ledger.obligations - judgement.ledger.pending
    judgement.check("lost", times=due)
    judgement.expected = due


class Untold:
    """Opens the views of conversations that a member's device was never told of: it had nothing
    beyond its stored mark."""

    def __init__(self, evidence: Evidence, truth: Truth) -> None:
        self._marks: dict[tuple[str, str], StoredMark] = {
            (mark.conversation, mark.device): mark for mark in evidence.marks
        }
        self._threads: dict[str, list[Thread]] = {}  # by user
        for thread in truth.threads.values():
            for user in thread.stays:
                self._threads.setdefault(user, []).append(thread)

    def open(self, seat: Seat) -> None:
        """Open them for one device, if it ever had a session."""
        device, user = seat.log.device.id, seat.log.device.user
        for thread in self._threads.get(user, ()) if seat.sessions else ():
            if thread.name not in seat.views:
                mark = self._marks.get((thread.name, device))
                joined = max(stay.joined for stay in thread.stays[user])
                start = mark.delivered if mark is not None else joined - 1
                start = max(start, thread.since)
                seat.views[thread.name] = View(thread, thread.end(user), start, start)


class Dates:
    """When each change was first known to anybody; found out only when something is missing."""

    def __init__(self, evidence: Evidence, truth: Truth) -> None:
        self._evidence, self._truth = evidence, truth
        self._known: dict[str, dict[int, int]] | None = None

    def of(self, conversation: str) -> dict[int, int]:
        """The moments (ns) by the change's number."""
        if self._known is None:
            self._known = {}
            for page, first in zip(self._evidence.pages, self._evidence.first_seen, strict=True):
                for change in page.changes if first != UNSEEN else ():
                    self._note(page.conversation, change.seq, first)
            for operation in self._truth.operations.values():
                if operation.place is not None:
                    self._note(operation.sent.conversation, operation.place, operation.answered)
        return self._known.get(conversation, {})

    def _note(self, conversation: str, seq: int, t: int) -> None:
        assert self._known is not None
        known = self._known.setdefault(conversation, {})
        known[seq] = min(t, known.get(seq, t))


class Requests:
    """The places that requests took, by conversation, in the order in which they were begun."""

    def __init__(self, truth: Truth) -> None:
        self._placed: dict[str, list[tuple[int, int]]] = {}
        for operation in truth.operations.values():
            if operation.place is not None:
                placed = self._placed.setdefault(operation.sent.conversation, [])
                placed.append((operation.sent.t, operation.place))
        self._lowest: dict[str, list[int]] = {}  # place of this one and all later ones
        for name, placed in self._placed.items():
            placed.sort()
            lowest = list(accumulate((place for _, place in reversed(placed)), min))
            self._lowest[name] = lowest[::-1]

    def since(self, conversation: str, t: int, *, upto: int) -> set[int]:
        """The places up to `upto` of what was begun after a moment."""
        placed = self._placed.get(conversation, [])
        at = bisect_right(placed, (t, FOREVER))
        if at == len(placed) or self._lowest[conversation][at] > upto:
            return set()  # as a rule
        return {place for _, place in placed[at:] if place <= upto}


def _look_before(seat: Seat, view: View, requests: Requests, judgement: Judgement) -> None:
    """A feed may begin where the device was made or its user joined, but not beyond what was asked for later."""
    thread, device = view.thread, seat.log.device
    assert thread is not None
    stays = thread.stays.get(device.user)
    if not stays:
        return
    places = requests.since(thread.name, device.t, upto=view.start)
    skipped = [
        row.seq
        for row in (thread.between(stays[-1].joined, view.start) if places else ())
        if row.seq in places
    ]
    judgement.ledger.obligations += len(skipped)
    for seq in skipped:
        reason = (
            f"its feed began at {view.start}, though the device and its user had been there before"
        )
        lose(judgement, seat, view, seq, reason)


def _account(
    seat: Seat, view: View, evidence: Evidence, dates: Dates, judgement: Judgement
) -> None:
    thread, ledger = view.thread, judgement.ledger
    assert thread is not None
    owed = _owed(seat, view, thread)
    missing = owed[bisect_right(owed, view.cursor) :]
    ledger.obligations += len(owed)
    ledger.delivered += len(owed) - len(missing)
    if view.lost:
        ledger.delivered -= len(view.lost.intersection(owed))
    if not missing or not seat.connected or thread.moved:
        ledger.pending += len(missing)
        if not missing and seat.connected and view.fence is not None:
            _doubt_end(seat, view, judgement)
        return
    arrived = {change.seq for entry in view.beyond for change in evidence.pages[entry].changes}
    known = dates.of(thread.name)
    went_on = max(known.values(), default=0) > seat.ended
    for seq in missing:
        if seq in arrived:
            ledger.delivered += 1  # it is there, though the client could not apply it
        elif went_on and known.get(seq, UNSEEN) > seat.ended - LATE_NS:
            ledger.pending += 1
        else:
            reason = f"it ended at cursor {view.cursor}, though it was connected"
            lose(judgement, seat, view, seq, reason)


def _doubt_end(seat: Seat, view: View, judgement: Judgement) -> None:
    """A device that was told that its user has left ends so: the database must say the same."""
    thread, user = view.thread, seat.log.device.user
    assert thread is not None
    if any(stay.left is None for stay in thread.stays.get(user, ())):
        judgement.convict(
            "inconsistent",
            f"{prose.device(seat.log)} was told that its user left conversation {thread.name} with change "
            f"{view.fence}, and never that they are in it again; by the database they are.",
            conversation=thread.name,
            device=seat.log.device.device,
        )


def _owed(seat: Seat, view: View, thread: Thread) -> list[int]:
    """The stored changes that are for this device: by the database, whatever it was told of leaving."""
    end, user = min(thread.last, view.limit), seat.log.device.user
    if thread.since_joined:
        return [row.seq for row in thread.between(view.start, end) if thread.owes(user, row.seq)]
    low, high = bisect_right(thread.seqs, view.start), bisect_right(thread.seqs, end)
    return thread.seqs[low:high]
