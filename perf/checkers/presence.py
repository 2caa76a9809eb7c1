"""Presence: what devices were shown of who is here, against whose sockets were really open, and who may see whom.

Presence converges; a view may be wrong for a moment, never for longer than BOUND_NS. A user is here
while any of their devices has a session; being away counts as being here. A view is nobody's fault while
its device is told that it is stale, while a fault keeps the device out of reach, or the user's server
(`reach`); and that somebody is offline is what those are shown who share nothing with them (`sharing`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from perf.checkers import prose, reach
from perf.checkers.judgement import Judgement
from perf.checkers.reach import Here, Reach
from perf.checkers.sharing import LATE_NS, Sharing
from perf.checkers.spans import Span, contains, inside, merged, outside
from perf.history.events import Fault, PresenceSeen
from perf.history.reader import Evidence

BOUND_NS = LATE_NS
"""How long a view may be wrong: a killed process's lease runs out within (T21)."""

MOST_MEMBERS = 50
"""Of larger conversations nobody is shown who is here who did not ask for them (`presence_members`)."""

Name: TypeAlias = Literal["ghost online", "ghost offline"]
GHOSTS: Final[tuple[Name, ...]] = get_args(Name)


def examine(evidence: Evidence, judgement: Judgement) -> None:
    """Find views that were wrong for too long, and those that nobody should have had."""
    views: dict[tuple[int, str], list[PresenceSeen]] = {}
    for event in evidence.events:
        if isinstance(event, PresenceSeen):
            views.setdefault((event.device, event.user), []).append(event)
    if not views:
        return
    known = reach.establish(evidence)
    sharing = Sharing(evidence, known.untold)
    # With a fault, what a session is shown first may be owed to a database that is away.
    calm = not any(isinstance(event, Fault) for event in evidence.events)
    for pair in _owed(evidence, {observer for observer, _ in views}) if calm else ():
        views.setdefault(pair, [])
    for (observer, user), seen in views.items():
        viewer = evidence.logs[observer].device.user
        view = View(
            observer=observer,
            viewer=viewer,
            user=user,
            calm=calm,
            known=known,
            sharing=sharing,
            evidence=evidence,
            judgement=judgement,
        )
        view.look_for_leaks(seen)
        if user in known.said.surely:  # else not of this run: nobody knows
            view.look_for_ghosts(seen)


def _owed(evidence: Evidence, observers: Collection[int]) -> Iterator[tuple[int, str]]:
    """Whom these devices are shown without asking: who is in a conversation with few members with them."""
    members: dict[str, set[str]] = {}
    for stay in evidence.stays:
        members.setdefault(stay.conversation, set()).add(stay.user)
    others: dict[str, set[str]] = {}
    for users in members.values():
        if len(users) <= MOST_MEMBERS:
            for user in users:
                others.setdefault(user, set()).update(users)
    for observer in observers:
        own = evidence.logs[observer].device.user
        for user in sorted(others.get(own, {own}) - {own}):
            yield observer, user


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that one device was shown of one user. `calm`: nothing shown is as good as shown to be offline."""

    observer: int
    viewer: str
    user: str
    calm: bool
    known: Reach
    sharing: Sharing
    evidence: Evidence
    judgement: Judgement

    def look_for_leaks(self, seen: Sequence[PresenceSeen]) -> None:
        """Convict each time that somebody is shown to be here to who shares no conversation with them."""
        if self.viewer == self.user or not self.sharing.knows(self.viewer):
            return
        self.judgement.check("misrouted presence", times=len(seen))
        surely = self.sharing.surely(self.viewer, self.user)
        astray = [one for one in seen if one.state != "offline" and not contains(surely, one.t)]
        if not astray:
            return
        perhaps = self.sharing.perhaps(self.observer, self.viewer, self.user)
        untold = self.known.untold.get(self.observer, [])
        late = merged((began, ended + LATE_NS) for began, ended in untold)
        for one in astray:
            if not contains(perhaps, one.t) and not contains(late, one.t):
                self._convict_leak(one)

    def look_for_ghosts(self, seen: Sequence[PresenceSeen]) -> None:
        """Convict each stretch in which what was shown was wrong for too long."""
        moments = [event.t for event in seen]
        for began, ended in self.known.sessions.get(self.observer, []):
            shown = seen[bisect_left(moments, began) : bisect_right(moments, ended)]
            first = shown[0].t if shown else began if self.calm else ended
            for name in GHOSTS:  # a view can only be wrong for too long if it is so for long
                held = self._visible(name, self._knowable(name, (first, ended)))
                self.judgement.check(name, times=len(held))
            for since, until, name in _joined(shown, first, ended):
                for wrong in self._wrong(name, (since, until), self.known.said):
                    if _long(wrong):
                        self._weigh(name, wrong)

    def _weigh(self, name: Name, wrong: Span) -> None:
        """Convict a view that was wrong for too long, unless there is a reason."""
        knowable = self._knowable(name, wrong)
        visible = self._visible(name, knowable)
        if not visible:
            self.judgement.tolerate("out of sight" if knowable else "out of reach")
        for part in visible:
            self._convict_ghost(name, part)

    def _knowable(self, name: Name, stretch: Span) -> list[Span]:
        """For how long the server could know that such a view is wrong, and the device could be told."""
        return [
            part
            for told in outside(stretch, self.known.untold.get(self.observer, []))
            for part in self._wrong(name, told, self.known.here)
            if _long(part)
        ]

    def _visible(self, name: Name, parts: Sequence[Span]) -> list[Span]:
        """Of these the ones in which the user was to be seen: that they have gone is told to everybody."""
        if name == "ghost online":
            return list(parts)
        share = self.sharing.surely(self.viewer, self.user)
        return [shared for part in parts for shared in inside(part, share) if _long(shared)]

    def _wrong(self, name: Name, stretch: Span, here: Here) -> Iterator[Span]:
        """The parts of a stretch in which such a view would be wrong, and was not said to be stale."""
        for part in outside(stretch, self.known.stale.get(self.observer, [])):
            if name == "ghost online":
                yield from outside(part, here.perhaps[self.user])
            else:
                yield from inside(part, here.surely[self.user])

    def _convict_ghost(self, name: Name, span: Span) -> None:
        state, truth = (
            ("online", "had gone") if name == "ghost online" else ("offline", "were there")
        )
        self.judgement.convict(
            name,
            f"Device {self.observer} was shown user {self.user} as {state} for {(span[1] - span[0]) / 1e9:.1f} s "
            f"from {prose.moment(span[0], self.evidence)[3:]} on, while they {truth}.",
            device=self.observer,
        )

    def _convict_leak(self, shown: PresenceSeen) -> None:
        self.judgement.convict(
            "misrouted presence",
            f"Device {self.observer} of user {self.viewer} was shown {prose.moment(shown.t, self.evidence)} that "
            f"user {self.user} is {shown.state}, but they share no conversation.",
            device=self.observer,
        )


def _long(span: Span) -> bool:
    return span[1] - span[0] > BOUND_NS


def _joined(
    shown: Sequence[PresenceSeen], began: int, ended: int
) -> Iterator[tuple[int, int, Name]]:
    """The stretches of a session in which the same was shown, and what it would be if wrong.

    Of whom a session was shown nothing yet is shown as offline in it.
    """
    current: tuple[int, Name] = began, "ghost offline"
    for event in shown:
        name: Name = "ghost offline" if event.state == "offline" else "ghost online"
        if current[1] != name:
            yield current[0], event.t, current[1]
            current = event.t, name
    yield current[0], ended, current[1]
