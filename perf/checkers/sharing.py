"""Who may see whom: users who share a conversation, and since when and until when.

The database knows the change by which somebody joined or left; when that was, only devices can say, by
the first frame beyond it. Nothing happened later than that, and what nobody was shown has no moment. While
a fault keeps devices out of reach it may have happened long before.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from perf.checkers.reach import Spans
from perf.checkers.spans import ALWAYS, Span, inside, merged
from perf.history.events import Opened, Removed, Stay
from perf.history.reader import UNSEEN, Evidence

LATE_NS = 10_000_000_000
"""How much later than a change devices may hear of it, and show its effect: as long as a view may be wrong."""

EARLY_NS = 30_000_000_000
"""How long before the first frame that tells of it somebody may have joined, at most: so long recovery may take (T11)."""

GONE_NS = 1_000_000_000
"""How long after a device was told that its user has left it may still be shown who is in the conversation."""


class Tenure(NamedTuple):
    """A stay, which ended with change `left`: the spans in which it lasted surely, and perhaps."""

    conversation: str
    left: int | None
    surely: Span
    perhaps: Span


class Sharing:
    """Answers for two users at a time."""

    def __init__(self, evidence: Evidence, untold: Spans) -> None:
        self._left = _left(evidence)
        self._dark = merged(
            (began, end + LATE_NS) for some in untold.values() for began, end in some
        )
        self._first = _Firsts(evidence)
        self._tenures: dict[str, list[Tenure]] = {}
        for stay in evidence.stays:
            self._tenures.setdefault(stay.user, []).append(self._tenure(stay, evidence))
        self._known: dict[tuple[str, str], list[Span]] = {}

    def knows(self, user: str) -> bool:
        """Whether it is known what conversations a user was in."""
        return user in self._tenures

    def surely(self, one: str, other: str) -> list[Span]:
        """When two users shared a conversation for all that is known; always, if that is nothing."""
        if one == other or not (self.knows(one) and self.knows(other)):
            return [ALWAYS]
        key = min(one, other), max(one, other)
        if key not in self._known:
            self._known[key] = merged(
                part
                for mine, theirs in self._pairs(one, other)
                for part in inside(mine.surely, [theirs.surely])
            )
        return self._known[key]

    def perhaps(self, device: int, viewer: str, other: str) -> list[Span]:
        """When a device of the viewer may have been shown the other, at most."""
        return merged(
            part
            for mine, theirs in self._pairs(viewer, other)
            for part in inside(self._told(device, mine), [theirs.perhaps])
        )

    def _told(self, device: int, tenure: Tenure) -> Span:
        """The stay as a device may have believed in it: it was told of the end."""
        began, ended = tenure.perhaps
        if tenure.left is None:
            return began, ended
        told = self._left.get((device, tenure.conversation), [])
        return began, min([ended, *(t + GONE_NS for upto, t in told if upto >= tenure.left)])

    def _pairs(self, one: str, other: str) -> Iterator[tuple[Tenure, Tenure]]:
        """Stays of the two in the same conversations."""
        places: dict[str, list[Tenure]] = {}
        for tenure in self._tenures.get(other, ()):
            places.setdefault(tenure.conversation, []).append(tenure)
        for tenure in self._tenures.get(one, ()):
            for theirs in places.get(tenure.conversation, ()):
                yield tenure, theirs

    def _tenure(self, stay: Stay, evidence: Evidence) -> Tenure:
        conversation = evidence.conversations.get(stay.conversation)
        old = conversation.since if conversation is not None else 0
        joined = 0 if stay.joined <= old else self._first(stay.conversation, stay.joined)
        if stay.left is None:
            left = ALWAYS[1]
        else:
            left = 0 if stay.left <= old else self._first(stay.conversation, stay.left)
        began = 0 if joined == UNSEEN else max(self._earliest(joined) - EARLY_NS, 0)
        ended = ALWAYS[1] if stay.left is None or left == UNSEEN else left + LATE_NS
        last = left if stay.left is None else self._earliest(left)
        sure = (joined, last) if joined < last and left != UNSEEN else (0, 0)
        return Tenure(stay.conversation, stay.left, sure, (began, ended))

    def _earliest(self, t: int) -> int:
        """Since when that may have been so which was first seen at `t`."""
        return min([t, *(began for began, ended in self._dark if began <= t < ended)])


class _Firsts:
    """When anybody was first shown a frame that goes so far."""

    def __init__(self, evidence: Evidence) -> None:
        moved = {
            stay.conversation for stay in evidence.stays if stay.joined > 0 or stay.left is not None
        }
        seen: dict[str, list[tuple[int, int]]] = {name: [] for name in moved}
        for page, first in zip(evidence.pages, evidence.first_seen, strict=True):
            if page.conversation in moved:
                seen[page.conversation].append((page.upto, first))
        for event in evidence.events:
            if isinstance(event, Removed) and event.conversation in moved:
                seen[event.conversation].append((event.upto, event.t))
            elif isinstance(event, Opened):  # its feed begins behind what has happened
                for name in moved.intersection(event.welcome):
                    seen[name].append((event.welcome[name], event.t))
        self._uptos: dict[str, list[int]] = {}
        self._moments: dict[str, list[int]] = {}
        for name, found in seen.items():
            found.sort()
            first, moments = UNSEEN, []
            for _, moment in reversed(found):
                first = min(first, moment)
                moments.append(first)
            self._uptos[name] = [upto for upto, _ in found]
            self._moments[name] = moments[::-1]

    def __call__(self, conversation: str, seq: int) -> int:
        """The moment, ns; UNSEEN if nobody was."""
        at = bisect_left(self._uptos.get(conversation, []), seq)
        moments = self._moments.get(conversation, [])
        return moments[at] if at < len(moments) else UNSEEN


def _left(evidence: Evidence) -> dict[tuple[int, str], list[tuple[int, int]]]:
    """By device and conversation: with which change it was told that its user has left, and when."""
    told: dict[tuple[int, str], list[tuple[int, int]]] = {}
    for event in evidence.events:
        if isinstance(event, Removed):
            told.setdefault((event.device, event.conversation), []).append((event.upto, event.t))
    return told
