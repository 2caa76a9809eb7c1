"""What a look at presence has to do: at once, or at a moment to come."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from messaging.hub.circles import Key
from messaging.hub.topic import Link
from messaging.protocol.frames import PresenceWatch

LONG_S = 3_600.0  # what lies further ahead is found by a pass that comes before it
# Moments that differ by less are one, and may be as late: each look computes them anew.
SAME_S = 0.01
LATE_S = 0.002  # a timer that fires too early would look twice
SPENT = 2  # moments kept for each that counts: those that were replaced lie where they were


@dataclass(slots=True)
class Work:
    """Whom to look at, which circles to read, and which sessions wait for it."""

    users: set[str] = field(default_factory=set)
    circles: set[Key] = field(default_factory=set)
    entering: dict[Link, set[str]] = field(default_factory=dict)
    asked: list[tuple[Link, PresenceWatch]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.users or self.circles or self.entering or self.asked)

    def add(self, other: Work) -> None:
        """Do this, too."""
        self.users |= other.users
        self.circles |= other.circles
        for link, conversations in other.entering.items():
            self.entering.setdefault(link, set()).update(conversations)
        self.asked = other.asked + self.asked


class Due:
    """Whom to look at when: one moment a user, in seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._moments: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def note(self, user: str, moment: float | None) -> None:
        """Look at the user at this moment instead of at an earlier one; None: not at all."""
        if moment is None:
            self._moments.pop(user, None)
            return
        moment += LATE_S
        if abs(self._moments.get(user, 0.0) - moment) > SAME_S:
            self._moments[user] = moment
            heapq.heappush(self._heap, (moment, user))
            if len(self._heap) > SPENT * len(self._moments):
                self._heap = [(at, one) for one, at in self._moments.items()]
                heapq.heapify(self._heap)

    def seconds(self, now: float) -> float | None:
        """How long until somebody is due, at most LONG_S; None if nobody is."""
        return min(max(self._heap[0][0] - now, 0.0), LONG_S) if self._heap else None

    def take(self, now: float) -> Iterator[str]:
        """Who is due, once each."""
        while self._heap and self._heap[0][0] <= now:
            moment, user = heapq.heappop(self._heap)
            if self._moments.get(user) == moment:
                del self._moments[user]
                yield user
