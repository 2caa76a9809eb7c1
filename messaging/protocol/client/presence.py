"""Presence at the client's end, as one part of its core: how others are, what the own user wishes, who is typing.

It knows no connection: `client` says when a session begins and ends, and sends what is due.
"""

from __future__ import annotations

from collections.abc import Sequence

from messaging.protocol import frames
from messaging.protocol.client.happenings import AnyHappening, Request
from messaging.protocol.client.others import Others
from messaging.protocol.client.typists import Typists
from messaging.protocol.client.wishes import Wishes


class Presence:
    """Everybody's presence, as one device has it."""

    def __init__(self) -> None:
        self.others, self.wishes, self.typists = Others(), Wishes(), Typists()

    @property
    def deadline(self) -> float | None:
        """The moment (ms) at which something is due, or None."""
        moments = (self.wishes.deadline, self.typists.deadline)
        return min((moment for moment in moments if moment is not None), default=None)

    def begin(self) -> None:
        """A session is open; what was typed before it is forgotten."""
        self.others.restart()
        self.wishes.restart()
        self.typists.lose()

    def lose(self) -> list[AnyHappening]:
        """The connection is lost."""
        return [*self.others.lose(), *self.typists.lose()]

    def due(self, now: float, going: Sequence[Request]) -> list[frames.Frame]:
        """The frames to send at this moment (ms), beside the requests that go out."""
        self.typists.sent(going)
        return [*self.wishes.due(now), *self.typists.due(now)]

    def heard(self, frame: frames.Presence | frames.Typed, now: float) -> list[AnyHappening]:
        """The server told of somebody; a `presence` may also be the answer to a watch list."""
        if isinstance(frame, frames.Typed):
            return [*self.typists.heard(frame, now)]
        return [*self.others.heard(frame), *self.wishes.answered(frame.ref)]
