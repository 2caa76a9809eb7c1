"""Liveness: how long it took, after the last fault was healed, until all was well again."""

from __future__ import annotations

from collections.abc import Iterable

from perf.checkers.judgement import Judgement
from perf.checkers.seats import Seat
from perf.checkers.truth import Truth
from perf.history.events import Acked, Fault
from perf.history.reader import Evidence


def examine(evidence: Evidence, truth: Truth, seats: Iterable[Seat], judgement: Judgement) -> None:
    """Fill the judgement's liveness; without a fault there is nothing to recover from."""
    faults = [event for event in evidence.events if isinstance(event, Fault)]
    for fault in faults:
        if fault.phase == "felt" and any(fault.effect.values()):
            judgement.happen("fault felt", f"{fault.name} {fault.target}".strip())
    healed = max((fault.t for fault in faults if fault.phase == "end"), default=None)
    if healed is None:
        return
    liveness = judgement.liveness
    liveness.healed = healed
    answers = [one.t for one in evidence.events if isinstance(one, Acked) and one.t > healed]
    liveness.first_ok_ms = (min(answers) - healed) / 1e6 if answers else None
    known = _known(evidence, truth, healed)
    for seat in seats:
        if seat.connected:
            _recover(seat, known, healed, evidence, judgement)


def _known(evidence: Evidence, truth: Truth, healed: int) -> dict[str, int]:
    """How far each conversation was when the last fault was healed."""
    known: dict[str, int] = {}
    for page, first in zip(evidence.pages, evidence.first_seen, strict=True):
        if first <= healed:
            known[page.conversation] = max(page.upto, known.get(page.conversation, 0))
    for operation in truth.operations.values():
        if operation.place is not None and operation.answered <= healed:
            name = operation.sent.conversation
            known[name] = max(operation.place, known.get(name, 0))
    return known


def _recover(
    seat: Seat, known: dict[str, int], healed: int, evidence: Evidence, judgement: Judgement
) -> None:
    """When did this device have everything that was known then?"""
    wanted = {
        name: min(seq, seat.views[name].limit) for name, seq in known.items() if name in seat.views
    }
    if any(seat.views[name].cursor < seq for name, seq in wanted.items()):
        judgement.liveness.behind += 1
        return
    missing, last = dict(wanted), healed
    for moment, entry in zip(seat.log.moments, seat.log.entries, strict=True):
        if entry >= 0:
            page = evidence.pages[entry]
            if page.upto >= missing.get(page.conversation, page.upto + 1):
                del missing[page.conversation]
                last = max(last, moment)
    judgement.liveness.converged_ms.append((last - healed) / 1e6)
