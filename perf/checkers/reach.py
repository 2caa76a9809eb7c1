"""When each device had a session, was told that it knows nothing, or could not be reached; when users were here.

Between hello and welcome nobody beside the server knows whether there is a session: `perhaps` counts it.
What a fault's record says of a device (`Unreached`) holds for this device alone, and for no longer than it
says. Who is unheard may have been given up by the server, or have gone without its knowledge.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from perf.checkers.spans import ALWAYS, Span, merged, outside
from perf.history.events import Closed, Cursors, Greeted, Opened, PresenceStale, Unreached
from perf.history.reader import Evidence

Spans: TypeAlias = Mapping[int, list[Span]]
"""By the device's number."""
Users: TypeAlias = Mapping[str, list[Span]]


@dataclass(frozen=True, kw_only=True)
class Here:
    """When users were: for all that the devices know (`surely`), and between hello and welcome, too (`perhaps`)."""

    surely: Users
    perhaps: Users


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Of devices: their sessions, when they were told that all is stale, when they could be told nothing (`untold`).

    `here` leaves out what nobody could know beside the fault, `said` is what the devices themselves say.
    """

    sessions: Spans
    stale: Spans
    untold: Spans
    said: Here
    here: Here


def establish(evidence: Evidence) -> Reach:
    """Gather when who could know of whom."""
    sessions = _sessions(evidence, Opened)
    greeted = _sessions(evidence, Greeted, Opened)
    untold, unheard = _unreached(evidence)
    # Where a file was cut off, anybody may have come later whose session nobody took down.
    blind = [(evidence.blind, ALWAYS[1])] if evidence.cut else []
    said = Here(surely=_users(evidence, sessions), perhaps=_users(evidence, greeted, *blind))
    here = said
    if unheard:
        here = Here(
            surely=_users(evidence, _without(sessions, unheard)),
            perhaps=_users(evidence, _longer(greeted, unheard), *blind),
        )
    stale = _stale(evidence)
    return Reach(sessions=sessions, stale=stale, untold=untold, said=said, here=here)


def _sessions(evidence: Evidence, *begin: type[Greeted | Opened]) -> Spans:
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
        # Of a history that was cut off nobody knows how the session went on.
        known = evidence.whole or Greeted in begin
        ended = last if known else evidence.logs[device].moments[-1]
        spans.setdefault(device, []).append((began, ended))
    return spans


def _stale(evidence: Evidence) -> Spans:
    """When each device was told nothing; the end of its session is an end of that, too."""
    spans: dict[int, list[Span]] = {}
    since: dict[int, int] = {}
    for event in evidence.events:
        if isinstance(event, PresenceStale) and event.stale:
            since.setdefault(event.device, event.t)
        elif isinstance(event, PresenceStale | Closed | Cursors) and event.device in since:
            spans.setdefault(event.device, []).append((since.pop(event.device), event.t))
    return spans


def _unreached(evidence: Evidence) -> tuple[Spans, Spans]:
    """When each device could be told nothing, and when nobody heard of it."""
    records = {  # the last word of each counts
        (event.device, event.since): event
        for event in evidence.events
        if isinstance(event, Unreached)
    }
    if not records:
        return {}, {}
    ends: dict[int, list[int]] = {}
    for event in evidence.events:
        if isinstance(event, Closed):
            ends.setdefault(event.device, []).append(event.t)
    untold: dict[int, list[Span]] = {}
    unheard: dict[int, list[Span]] = {}
    for record in records.values():
        span = record.since, _until(record, ends.get(record.device, []))
        if record.untold:
            untold.setdefault(record.device, []).append(span)
        if record.unheard:
            unheard.setdefault(record.device, []).append(span)
    return _merged(untold), _merged(unheard)


def _until(record: Unreached, ends: list[int]) -> int:
    """The end of a record: if only a connection was lost, no later than its end."""
    at, until = bisect_left(ends, record.since), record.until
    if until is None:
        until = ALWAYS[1]
    return min(until, ends[at]) if record.lost and at < len(ends) else until


def _merged(found: Spans) -> Spans:
    return {device: merged(spans) for device, spans in found.items()}


def _without(sessions: Spans, unheard: Spans) -> Spans:
    """The sessions as far as the server had to know of them."""
    return {
        device: [part for span in spans for part in outside(span, unheard.get(device, []))]
        for device, spans in sessions.items()
    }


def _longer(sessions: Spans, unheard: Spans) -> Spans:
    """The sessions as far as the server may have taken them to go on: it heard of no end meanwhile."""
    return {
        device: list(_lengthened(spans, unheard.get(device, [])))
        for device, spans in sessions.items()
    }


def _lengthened(spans: list[Span], unheard: list[Span]) -> Iterator[Span]:
    for began, ended in spans:
        deaf = [until for since, until in unheard if began < until and since <= ended < until]
        yield began, max([ended, *deaf])


def _users(evidence: Evidence, sessions: Spans, *others: Span) -> Users:
    """When each user was here: the union of their devices' sessions, and of what is to be added."""
    here: dict[str, list[Span]] = {}
    for log in evidence.logs.values():
        here.setdefault(log.device.user, []).extend(sessions.get(log.device.device, []))
    return {user: merged([*spans, *others]) for user, spans in here.items()}
