"""The judge: every group of properties in turn, on the same evidence. Pure, and linear but for sorting."""

from __future__ import annotations

from collections.abc import Collection

from perf.checkers import (
    arrivals,
    excerpts,
    fences,
    numbering,
    order,
    pages,
    presence,
    promises,
    reads,
    receipts,
    recovery,
)
from perf.checkers.judgement import Judgement
from perf.checkers.truth import Truth, establish
from perf.checkers.views import Watcher
from perf.history.events import Cursors, Opened, Revoked
from perf.history.reader import UNSEEN, Evidence, uncollected


def judge(evidence: Evidence, *, goals: Collection[str] = ()) -> Judgement:
    """Say what the evidence proves or refutes.

    `goals` names the properties and situations (of `names`) that this run had to test: one that it
    never came by makes the verdict unknown.
    """
    judgement = Judgement(goals=frozenset(goals))
    with uncollected():
        truth = establish(evidence)
        _judge(evidence, truth, judgement)
    _note(evidence, judgement)
    excerpts.add(evidence, judgement)
    return judgement


def _judge(evidence: Evidence, truth: Truth, judgement: Judgement) -> None:
    flaws = pages.examine(evidence, truth, judgement)
    watcher = Watcher(evidence, truth, flaws, judgement)
    seats = [watcher.watch(log) for log in evidence.logs.values()]
    arrivals.settle(evidence, truth, seats, judgement)
    promises.examine(evidence, truth, judgement)
    numbering.examine(truth, judgement)
    order.examine(evidence, truth, judgement)
    reads.examine(evidence, truth, judgement)
    receipts.examine(evidence, truth, judgement)
    presence.examine(evidence, judgement)
    fences.examine(evidence, truth, judgement)
    recovery.examine(evidence, truth, seats, judgement)


def _note(evidence: Evidence, judgement: Judgement) -> None:
    """What the run came by, and what its evidence lacks."""
    if len(evidence.runs) > 1:
        judgement.happen("several workers", f"{len(evidence.runs)} of them")
    for page, first in zip(evidence.pages, evidence.first_seen, strict=True):
        if first != UNSEEN and any(change.deleted for change in page.changes):
            judgement.happen("deletion seen", f"in conversation {page.conversation}")
            break
    if not evidence.compared:
        judgement.problems.append("what is stored was not compared")
    silent = _silent(evidence) if evidence.whole else 0
    if silent:
        judgement.problems.append(
            f"{silent} devices did not say where they were in the end, so nothing of theirs counts as lost"
        )
    if evidence.cut:
        judgement.problems.append(f"the history was cut off: {', '.join(evidence.cut)}")
    if evidence.unreadable:
        judgement.problems.append(f"{evidence.unreadable} lines of the history can't be used")


def _silent(evidence: Evidence) -> int:
    """Devices that had a session, were not revoked, and never said where they were when the run ended."""
    revoked = {event.id for event in evidence.events if isinstance(event, Revoked)}
    ended = {event.device for event in evidence.events if isinstance(event, Cursors)}
    opened = {event.device for event in evidence.events if isinstance(event, Opened)}
    return sum(evidence.logs[number].device.id not in revoked for number in opened - ended)
