"""Revocation is a fence: once the call has answered, nothing more reaches the device."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from perf.checkers import prose
from perf.checkers.judgement import Judgement
from perf.checkers.truth import Truth
from perf.history.events import (
    Acked,
    Added,
    AnyEvent,
    Opened,
    Page,
    PresenceSeen,
    Removed,
    Reset,
    Revoked,
)
from perf.history.reader import Evidence, Log

SLACK_NS = 100_000_000
"""What was on its way when the call answered may be read a little later by a busy generator."""


TOLD: Final[dict[type[AnyEvent], str]] = {
    Opened: "a welcome",
    Acked: "an ok",
    Added: "that it is in a conversation",
    Removed: "that its user has left a conversation",
    Reset: "that it must begin anew",
    PresenceSeen: "how somebody is",
}
"""What a server says to a device, beside changes and marks. That it is refused may be said to the end."""


def examine(evidence: Evidence, truth: Truth, judgement: Judgement) -> None:
    """Find frames and sessions after a revocation."""
    fences: dict[int, int] = {}
    for event in evidence.events:
        if isinstance(event, Revoked) and event.id in truth.numbers:
            judgement.check("delivery after a fence")
            fences.setdefault(truth.numbers[event.id], event.t)
    for number, fence in fences.items():
        for told in _after(fence, evidence.logs[number], evidence):
            _convict(number, fence, told, evidence, judgement)
    if fences:
        _look_at_marks(fences, evidence, judgement)


class Told(NamedTuple):
    """What a device was told, and when; `page` is the frame of changes, if it is one."""

    t: int
    what: str
    page: Page | None = None


def _after(fence: int, log: Log, evidence: Evidence) -> Iterator[Told]:
    for at in range(bisect_right(log.moments, fence + SLACK_NS), len(log.moments)):
        entry, moment = log.entries[at], log.moments[at]
        if entry >= 0:
            page = evidence.pages[entry]
            yield Told(moment, f"changes up to {page.upto}", page)
        elif type(evidence.events[~entry]) in TOLD:
            yield Told(moment, TOLD[type(evidence.events[~entry])])


def _look_at_marks(fences: Mapping[int, int], evidence: Evidence, judgement: Judgement) -> None:
    sightings = evidence.sightings
    for t, observer in zip(sightings.moments, sightings.observers, strict=True):
        fence = fences.get(observer)
        if fence is not None and t > fence + SLACK_NS:
            _convict(observer, fence, Told(t, "marks of others"), evidence, judgement)


def _convict(number: int, fence: int, told: Told, evidence: Evidence, judgement: Judgement) -> None:
    page = told.page
    judgement.convict(
        "delivery after a fence",
        f"{prose.device(evidence.logs[number])} received {told.what} {prose.moment(told.t, evidence)}, after the "
        f"call that revoked it had answered {prose.moment(fence, evidence)}.",
        conversation=page.conversation if page is not None else None,
        device=number,
        seqs=(page.upto,) if page is not None else (),
    )
