"""Order in real time, for each conversation alone: what was asked for after something was known comes
after it, and one device's requests come in the order in which it began them. After a refusal or a lost connection
that is promised of its sends only: an edit or a deletion is held to its place by the version it is based on.

A place is proved by the promise or, without one, by the store. Linear after one sort by time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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

    @property
    def is_send(self) -> bool:
        """Whether it is a new message."""
        return self.operation.sent.what == "send"

    @property
    def is_smooth(self) -> bool:
        """Whether it was neither refused nor on its way when a connection ended."""
        return not (self.operation.doubted or self.operation.refusals)


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
    sends = [one for one in requests if one.is_send]
    smooth = [one for one in requests if one.is_smooth]
    crossed = {
        after.operation.sent.client_id: (before, after)
        for before, after in (*_crossed(sends), *_crossed(smooth))
    }
    for before, after in crossed.values():
        sent = after.operation.sent
        judgement.convict(
            "nonmonotonic send",
            f"Device {sent.device} sent {before.operation.sent.client_id} before {sent.client_id} to "
            f"conversation {conversation}, but they are stored as changes {before.place} and "
            f"{after.place}.",
            conversation=conversation,
            device=sent.device,
            seqs=(before.place, after.place),
        )
    judged = [one for one in requests if one.is_send or one.is_smooth]
    devices = {one.operation.sent.device for one in judged}
    judgement.check("nonmonotonic send", times=len(judged) - len(devices))


def _crossed(requests: Iterable[Placed]) -> Iterator[tuple[Placed, Placed]]:
    """Requests that are not stored after the one with the highest place that their device sent before."""
    last: dict[int, Placed] = {}
    for request in requests:
        device = request.operation.sent.device
        before = last.get(device)
        if before is not None and request.place <= before.place:
            yield before, request
        else:
            last[device] = request


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
