"""The numbers of a conversation's changes have no holes: each is a stored change, or was replaced.

A replaced change that nobody saw is known only by its message's version. Whether the numbers
without a change can be those that are missing is a matching of points with intervals, which is
found by giving each number, upwards, to the interval that ends first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from itertools import pairwise
from typing import NamedTuple

from perf.checkers.judgement import Judgement
from perf.checkers.truth import Thread, Truth


class Unseen(NamedTuple):
    """So many changes of a message that nobody saw lie between two numbers."""

    after: int
    before: int
    changes: int


def examine(truth: Truth, judgement: Judgement) -> None:
    """Find numbers that no change explains, and messages that went back."""
    if not truth.compared:
        return
    for thread in truth.threads.values():
        judgement.check("gap", times=thread.last - thread.since)
        for seq in _unexplained(_holes(thread), _unseen(thread, judgement)):
            judgement.convict(
                "gap",
                f"No message of conversation {thread.name} had change {seq}, and none can have had it "
                "before it was edited.",
                conversation=thread.name,
                seqs=(seq,),
            )


def _holes(thread: Thread) -> Iterator[int]:
    """The numbers that belong to no change that is known."""
    known = {*thread.seqs, *thread.owners}
    if len(known) < thread.last - thread.since:
        yield from (seq for seq in range(thread.since + 1, thread.last + 1) if seq not in known)


def _unseen(thread: Thread, judgement: Judgement) -> list[Unseen]:
    """The changes that nobody saw, of all messages."""
    known: dict[str, list[tuple[int, int]]] = {}
    for seq, (message, version) in thread.owners.items():
        known.setdefault(message, []).append((seq, version))
    found: list[Unseen] = []
    for row in thread.rows:
        if row.version == 1:
            continue
        judgement.check("resurrected")
        points = {(row.position, 1), (row.seq, row.version), *known.get(row.id, ())}
        found.extend(_between(sorted(points), row.id, thread, judgement))
    return sorted(found)


def _between(
    points: list[tuple[int, int]], message: str, thread: Thread, judgement: Judgement
) -> Iterator[Unseen]:
    for (seq, version), (later, newer) in pairwise(points):
        if newer <= version:
            judgement.convict(
                "resurrected",
                f"Message {message} of conversation {thread.name} was version {version} as change {seq}, "
                f"and version {newer} as change {later}.",
                conversation=thread.name,
                seqs=(seq, later),
            )
        elif newer - version > 1:
            yield Unseen(seq, later, newer - version - 1)


def _unexplained(holes: Iterable[int], unseen: list[Unseen]) -> Iterator[int]:
    """The holes that are left when every unseen change has taken one."""
    waiting: list[tuple[int, int]] = []  # (where the interval ends, changes left)
    at = 0
    for seq in holes:
        while at < len(unseen) and unseen[at].after < seq:
            heappush(waiting, (unseen[at].before, unseen[at].changes))
            at += 1
        while waiting and waiting[0][0] <= seq:
            heappop(waiting)
        if not waiting:
            yield seq
            continue
        before, changes = heappop(waiting)
        if changes > 1:
            heappush(waiting, (before, changes - 1))
