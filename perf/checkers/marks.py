"""Who said which marks when, and how long each device's sessions lasted: what `receipts` compares with."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from perf.checkers.truth import FOREVER, Truth
from perf.history.events import Added, AnyEvent, Closed, Cursors, Marked, Opened, Removed, Unreached
from perf.history.reader import Evidence


@dataclass(slots=True)
class Said:
    """What one device said of one conversation: moments (ns), and the greatest marks until then.

    `before`: no mark that it had when the run began is greater.
    """

    before: int
    moments: list[int] = field(default_factory=list)
    delivered: list[int] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    _span: tuple[int, int] = (0, 0)  # the stretch of time that was asked for last,
    _marks: tuple[int, int] = (0, 0)  # and the answer: many devices are shown a mark at once

    def say(self, t: int, delivered: int, read: int) -> None:
        """Raise the marks. The server raises `delivered` to `read`."""
        last = (self.delivered[-1], self.read[-1]) if self.moments else (0, 0)
        self.moments.append(t)
        self.delivered.append(max(delivered, read, last[0]))
        self.read.append(max(read, last[1]))

    def until(self, t: int) -> tuple[int, int]:
        """The greatest marks that can be known by `t`."""
        if not self._span[0] <= t < self._span[1]:
            at = bisect_right(self.moments, t)
            low = self.moments[at - 1] if at else 0
            high = self.moments[at] if at < len(self.moments) else 1 << 63
            before = self.before
            self._span = low, high
            self._marks = (
                (max(self.delivered[at - 1], before), max(self.read[at - 1], before))
                if at
                else (before, before)
            )
        return self._marks

    def within(
        self, since: int, until: int, kept: Callable[[int], bool] = lambda _: True
    ) -> tuple[int, int] | None:
        """The newest marks that were said in that time, at a moment that is `kept`; None if none were."""
        at = bisect_right(self.moments, until)
        while at and self.moments[at - 1] > since:
            if kept(self.moments[at - 1]):
                return self.delivered[at - 1], self.read[at - 1]
            at -= 1
        return None


@dataclass(slots=True)
class Sessions:
    """When a device's sessions began (ns), and when the last one ended: what could be told and heard of it.

    `ends` are those of all, `out`: from when to when a fault keeps it out of reach. In the end it `stays` or
    is away, at its `cursors`.
    """

    opened: list[int] = field(default_factory=list)
    cursors: Mapping[str, int] = field(default_factory=dict)
    stays: bool = False
    ends: list[int] = field(default_factory=list)
    ended: int | None = None
    out: tuple[int, int] = (0, 0)

    def end(self, t: int) -> None:
        """The connection ends; what comes after its end ends nothing."""
        if self.ended is None:
            self.ended = self.out[0] if self.out[0] <= t < self.out[1] else t
            self.ends.append(self.ended)

    def lasted(self, t: int, after: int) -> bool:
        """Whether the session of this moment went on for so long (ns): the end of one may swallow what was said."""
        at = bisect_left(self.ends, t)
        return at == len(self.ends) or self.ends[at] - t >= after


class Marks:
    """All that was said, by device id and conversation, and the sessions of each device number."""

    def __init__(self, evidence: Evidence, truth: Truth) -> None:
        self.said: dict[tuple[str, str], Said] = {}
        self.sessions: dict[int, Sessions] = {number: Sessions() for number in evidence.logs}
        self.added: dict[tuple[str, str], int] = {}  # when a device was last told that it is in,
        self.removed: dict[tuple[str, str], int] = {}  # and that its user has left
        self._ids = {number: log.device.id for number, log in evidence.logs.items()}
        self._before = _before(truth)
        heard = [one for one in evidence.events if isinstance(one, _HEARD)]
        for event in sorted(heard, key=lambda one: one.t):
            self._hear(event)

    def by_conversation(self) -> dict[str, list[str]]:
        """The devices of each conversation."""
        devices: dict[str, list[str]] = {}
        for device, conversation in self.said:
            devices.setdefault(conversation, []).append(device)
        return devices

    def _hear(self, event: AnyEvent) -> None:
        match event:
            case Marked():
                said = self._of(event.device, event.conversation, 0)
                said.say(event.t, event.delivered, event.read)
            case Opened():
                sessions = self.sessions[event.device]
                sessions.opened.append(event.t)
                sessions.ended = None
                for conversation, cursor in {**event.welcome, **event.hello}.items():
                    self._of(event.device, conversation, cursor)
            case Added():
                self.added[self._ids[event.device], event.conversation] = event.t
                self._of(event.device, event.conversation, event.since)
            case Removed():
                self.removed[self._ids[event.device], event.conversation] = event.t
            case Closed():
                self.sessions[event.device].end(event.t)
            case Cursors():
                sessions = self.sessions[event.device]
                sessions.cursors, sessions.stays = event.cursors, event.connected
                sessions.end(event.t)
            case Unreached():
                until = FOREVER if event.until is None else event.until
                self.sessions[event.device].out = event.since, until

    def _of(self, device: int, conversation: str, cursor: int) -> Said:
        key = (self._ids[device], conversation)
        said = self.said.get(key)
        if said is None:
            said = self.said[key] = Said(max(cursor, self._before.get(conversation, 0)))
        return said


_HEARD = (Marked, Opened, Added, Removed, Closed, Cursors, Unreached)


def _before(truth: Truth) -> dict[str, int]:
    """Of each conversation, a change that is no older than the run: what it had before is below it."""
    before = {
        thread.name: thread.last if truth.compared else 1 << 62 for thread in truth.threads.values()
    }
    for (device, client_id), (thread, row) in truth.keys.items():
        if client_id in truth.operations and device in truth.numbers:
            before[thread.name] = min(before[thread.name], row.position - 1)
    return before
