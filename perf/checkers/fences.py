"""Revocation is a fence: once the call has answered, nothing more reaches the device."""

from __future__ import annotations

from bisect import bisect_right

from perf.checkers import prose
from perf.checkers.judgement import Judgement
from perf.checkers.truth import Truth
from perf.history.events import Opened, Revoked
from perf.history.reader import Evidence

SLACK_NS = 100_000_000
"""What was on its way when the call answered may be read a little later by a busy generator."""


def examine(evidence: Evidence, truth: Truth, judgement: Judgement) -> None:
    """Find frames and sessions after a revocation."""
    for event in evidence.events:
        if not isinstance(event, Revoked) or event.id not in truth.numbers:
            continue
        judgement.check("delivery after a fence")
        log = evidence.logs[truth.numbers[event.id]]
        for at in range(bisect_right(log.moments, event.t + SLACK_NS), len(log.moments)):
            entry = log.entries[at]
            if entry < 0 and not isinstance(evidence.events[~entry], Opened):
                continue
            page = evidence.pages[entry] if entry >= 0 else None
            what = f"changes up to {page.upto}" if page is not None else "a welcome"
            judgement.convict(
                "delivery after a fence",
                f"{prose.device(log)} received {what} {prose.moment(log.moments[at], evidence)}, after the "
                f"call that revoked it had answered {prose.moment(event.t, evidence)}.",
                conversation=page.conversation if page is not None else None,
                device=log.device.device,
                seqs=(page.upto,) if page is not None else (),
            )
