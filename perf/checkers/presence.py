"""Presence: what devices were shown of who is here, against whose sockets were really open.

Presence converges; a view may be wrong for a moment, never for longer than BOUND_NS. A user is here
while any of their devices has a session; being away counts as being here. Between hello and welcome
nobody beside the server knows whether there is one: neither view is wrong then. A device that is told
that what it knows is stale is shown nothing until it is told otherwise.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

from perf.checkers import prose
from perf.checkers.judgement import Judgement
from perf.history.events import Closed, Cursors, Greeted, Opened, PresenceSeen, PresenceStale
from perf.history.reader import Evidence

BOUND_NS = 10_000_000_000
"""How long a view may be wrong: a killed process's lease runs out within (T21)."""

Span: TypeAlias = tuple[int, int]
Name: TypeAlias = Literal["ghost online", "ghost offline"]


def examine(evidence: Evidence, judgement: Judgement) -> None:
    """Find views that were wrong for too long."""
    views: dict[tuple[int, str], list[PresenceSeen]] = {}
    for event in evidence.events:
        if isinstance(event, PresenceSeen):
            views.setdefault((event.device, event.user), []).append(event)
    if not views:
        return
    sessions = _sessions(evidence, Opened)
    here = _here(evidence, sessions)
    maybe = _here(evidence, _sessions(evidence, Greeted, Opened))
    stale = _stale(evidence)
    for (observer, user), seen in views.items():
        if user not in here:
            continue  # not of this run: nobody knows
        known = Known(here[user], maybe[user], stale.get(observer, []))
        for began, ended in sessions.get(observer, []):
            shown = [event for event in seen if began <= event.t <= ended]
            for ghost, (wrong, right) in _ghosts(shown, ended, known, judgement):
                _convict(
                    ghost,
                    observer,
                    user,
                    evidence=evidence,
                    judgement=judgement,
                    span=(wrong, right),
                )


class Known(NamedTuple):
    """When a user was here, when they may have been, and when an observer was told nothing of it."""

    here: list[Span]
    maybe: list[Span]
    stale: list[Span]


def _sessions(evidence: Evidence, *begin: type[Greeted | Opened]) -> dict[int, list[Span]]:
    """When each device was connected, from the first event of these kinds to the end of the connection."""
    spans: dict[int, list[Span]] = {}
    since: dict[int, int] = {}
    last = 0
    for event in evidence.events:
        last = max(last, event.t)
        if isinstance(event, begin):
            since.setdefault(event.device, event.t)
        elif isinstance(event, Closed | Cursors) and event.device in since:
            spans.setdefault(event.device, []).append((since.pop(event.device), event.t))
    for device, began in since.items():
        spans.setdefault(device, []).append((began, last))
    return spans


def _stale(evidence: Evidence) -> dict[int, list[Span]]:
    """When each device was told nothing, in order; the end of its session is an end of that, too."""
    spans: dict[int, list[Span]] = {}
    since: dict[int, int] = {}
    for event in evidence.events:
        if isinstance(event, PresenceStale) and event.stale:
            since.setdefault(event.device, event.t)
        elif isinstance(event, PresenceStale | Closed | Cursors) and event.device in since:
            spans.setdefault(event.device, []).append((since.pop(event.device), event.t))
    return spans


def _here(evidence: Evidence, sessions: dict[int, list[Span]]) -> dict[str, list[Span]]:
    """When each user was here: the union of their devices' sessions, in order."""
    here: dict[str, list[Span]] = {}
    for log in evidence.logs.values():
        here.setdefault(log.device.user, []).extend(sessions.get(log.device.device, []))
    return {user: list(_merged(sorted(spans))) for user, spans in here.items()}


def _merged(spans: list[Span]) -> Iterator[Span]:
    current: Span | None = None
    for began, ended in spans:
        if current is not None and began <= current[1]:
            current = current[0], max(current[1], ended)
            continue
        if current is not None:
            yield current
        current = began, ended
    if current is not None:
        yield current


def _ghosts(
    shown: list[PresenceSeen], ended: int, known: Known, judgement: Judgement
) -> Iterator[tuple[Name, Span]]:
    """What was wrong for too long of what one device was shown of one user in one session."""
    ends = [*(event.t for event in shown[1:]), ended][: len(shown)]
    for since, until, online in _joined(shown, ends):
        name: Name = "ghost online" if online else "ghost offline"
        judgement.check(name)
        here = known.maybe if online else known.here
        for part in _outside((since, until), known.stale):
            for wrong, right in _wrong(part, here, online=online):
                if right - wrong > BOUND_NS:
                    yield name, (wrong, right)


def _convict(
    name: Name, observer: int, user: str, *, span: Span, evidence: Evidence, judgement: Judgement
) -> None:
    state, truth = ("online", "had gone") if name == "ghost online" else ("offline", "were there")
    judgement.convict(
        name,
        f"Device {observer} was shown user {user} as {state} for {(span[1] - span[0]) / 1e9:.1f} s from "
        f"{prose.moment(span[0], evidence)[3:]} on, while they {truth}.",
        device=observer,
    )


def _joined(shown: list[PresenceSeen], ends: list[int]) -> Iterator[tuple[int, int, bool]]:
    """The stretches of time in which the same was shown."""
    current: tuple[int, int, bool] | None = None
    for event, ended in zip(shown, ends, strict=True):
        online = event.state != "offline"
        if current is not None and current[2] == online:
            current = current[0], ended, online
            continue
        if current is not None:
            yield current
        current = event.t, ended, online
    if current is not None:
        yield current


def _outside(stretch: Span, others: list[Span]) -> Iterator[Span]:
    """The parts of a stretch that are in none of the others, which are in order."""
    clock, end = stretch
    for began, ended in others:
        if ended > clock and began < end:
            if began > clock:
                yield clock, began
            clock = ended
    if clock < end:
        yield clock, end


def _wrong(view: Span, here: list[Span], *, online: bool) -> Iterator[Span]:
    """The parts of a stretch in which what was shown was not so."""
    at = max(bisect_right(here, (view[0], view[0])) - 1, 0)
    clock = view[0]
    for began, ended in here[at:]:
        if began >= view[1]:
            break
        if online and began > clock:
            yield clock, min(began, view[1])
        elif not online and min(ended, view[1]) > max(began, clock):
            yield max(began, clock), min(ended, view[1])
        clock = max(clock, ended)
    if online and clock < view[1]:
        yield clock, view[1]
