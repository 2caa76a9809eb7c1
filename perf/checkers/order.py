"""Order in real time, for each conversation alone: what was asked for after something was known comes
after it, and one device's requests come in the order in which it began them.

A place is proved by the promise or, without one, by the store. Linear after one sort by time.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from perf.checkers import prose
from perf.checkers.judgement import Judgement
from perf.checkers.operations import Operation
from perf.checkers.truth import Truth
from perf.history.reader import UNSEEN, Evidence


class Known(NamedTuple):
    """From `t` on somebody knew of change `seq`."""

    t: int
    seq: int
    how: str


class Placed(NamedTuple):
    """A request and the number that it took."""

    sent: int
    operation: Operation
    place: int


def examine(evidence: Evidence, truth: Truth, judgement: Judgement) -> None:
    """Look at the requests of each conversation."""
    known = _known(evidence, truth)
    for conversation, requests in _placed(evidence, truth).items():
        _judge_devices(conversation, requests, judgement)
        _judge_time(conversation, requests, known.get(conversation, []), evidence, judgement)
        _note_concurrency(conversation, requests, judgement)


def _known(evidence: Evidence, truth: Truth) -> dict[str, list[Known]]:
    """When the first device knew how much, by conversation, in the order of time."""
    known: dict[str, list[Known]] = {}
    for page, first in zip(evidence.pages, evidence.first_seen, strict=True):
        if first != UNSEEN and page.changes:
            seq = page.changes[-1].seq
            known.setdefault(page.conversation, []).append(Known(first, seq, "delivered"))
    for operation in truth.operations.values():
        place = operation.place
        if place is not None and operation.sent.client_id not in truth.astray:
            fact = Known(operation.answered, place, "acknowledged")
            known.setdefault(operation.sent.conversation, []).append(fact)
    for facts in known.values():
        facts.sort()
    return known


def _placed(evidence: Evidence, truth: Truth) -> dict[str, list[Placed]]:
    """The requests that took a place, by conversation, in each device's order."""
    placed: dict[str, list[Placed]] = {}
    devices = {number: log.device.id for number, log in evidence.logs.items()}
    for operation in truth.operations.values():
        place, sent = operation.place, operation.sent
        known = truth.keys.get((devices.get(sent.device, ""), sent.client_id))
        if place is None and known is not None:
            place = known[1].position
        if place is not None and sent.client_id not in truth.astray:
            placed.setdefault(sent.conversation, []).append(Placed(sent.t, operation, place))
    return placed


def _judge_devices(conversation: str, requests: list[Placed], judgement: Judgement) -> None:
    last: dict[int, Placed] = {}
    for request in requests:
        sent = request.operation.sent
        before = last.get(sent.device)
        if before is not None and request.place <= before.place:
            judgement.convict(
                "nonmonotonic send",
                f"Device {sent.device} sent {before.operation.sent.client_id} before {sent.client_id} to "
                f"conversation {conversation}, but they are stored as changes {before.place} and "
                f"{request.place}.",
                conversation=conversation,
                device=sent.device,
                seqs=(before.place, request.place),
            )
        if before is None or request.place > before.place:
            last[sent.device] = request
    judgement.check("nonmonotonic send", times=len(requests) - len(last))


def _judge_time(
    conversation: str,
    requests: list[Placed],
    known: list[Known],
    evidence: Evidence,
    judgement: Judgement,
) -> None:
    judgement.check("realtime inversion", times=len(requests))
    at, floor = 0, Known(0, 0, "")
    for request in sorted(requests, key=lambda one: one.sent):
        while at < len(known) and known[at].t < request.sent:
            if known[at].seq > floor.seq:
                floor = known[at]
            at += 1
        if request.place <= floor.seq:
            sent = request.operation.sent
            judgement.convict(
                "realtime inversion",
                f"Device {sent.device} sent {sent.client_id} to conversation {conversation} "
                f"{prose.moment(sent.t, evidence)}, and it became change {request.place}; but change "
                f"{floor.seq} had been {floor.how} {prose.moment(floor.t, evidence)}, before it was sent.",
                conversation=conversation,
                device=sent.device,
                seqs=(request.place, floor.seq),
            )


def _note_concurrency(conversation: str, requests: list[Placed], judgement: Judgement) -> None:
    ordered = sorted(requests, key=lambda one: one.sent)
    for one, other in pairwise(ordered):
        strangers = one.operation.sent.device != other.operation.sent.device
        if strangers and one.operation.answered > other.sent:
            judgement.happen("concurrent requests", f"in conversation {conversation}")
            return
