"""Spans of time: from a moment to another, ns. Lists of them are in order and do not overlap."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]

ALWAYS: Span = (0, 1 << 62)


def merged(spans: Iterable[Span]) -> list[Span]:
    """The union of spans that may overlap, in any order."""
    union: list[Span] = []
    for began, ended in sorted(spans):
        if union and began <= union[-1][1]:
            union[-1] = union[-1][0], max(union[-1][1], ended)
        else:
            union.append((began, ended))
    return union


def outside(stretch: Span, others: Sequence[Span]) -> Iterator[Span]:
    """The parts of a stretch that are in none of the others."""
    clock, end = stretch
    for began, ended in others[_before(stretch, others) :]:
        if began >= end:
            break
        if ended > clock:
            if began > clock:
                yield clock, began
            clock = ended
    if clock < end:
        yield clock, end


def inside(stretch: Span, others: Sequence[Span]) -> Iterator[Span]:
    """The parts of a stretch that are in one of the others."""
    for began, ended in others[_before(stretch, others) :]:
        if began >= stretch[1]:
            break
        if ended > stretch[0]:
            yield max(began, stretch[0]), min(ended, stretch[1])


def contains(spans: Sequence[Span], t: int) -> bool:
    """Whether a moment is in one of them."""
    at = bisect_right(spans, (t, ALWAYS[1])) - 1
    return at >= 0 and t <= spans[at][1]


def _before(stretch: Span, others: Sequence[Span]) -> int:
    """Where to begin to look: the ones before can't reach into the stretch."""
    return max(bisect_right(others, (stretch[0], stretch[0])) - 1, 0)
