"""What a session's device may ask for, as somebody else counts it, and what comes of asking for more.

What is answered is refused with the time to wait. What has no answer (marks, typing, pings) can't be, so
the session is read more slowly: marks are taken all the same, for they give the session its credit back.
"""

from __future__ import annotations

from typing import Protocol

from messaging.protocol.errors import Refused

# Marks in a frame that count as one. Ten thousand of them take 17 ms of a core, and 500 frames a second may be said.
PARTS = 100


class Allowance(Protocol):
    """Counts for all sessions of a device, and of its user, and knows whether the database answers."""

    def write(self) -> Refused | None:
        """Count a send, an edit or a deletion, or say why not."""

    def request(self) -> Refused | None:
        """Count another request that is answered, or say why not."""

    def hint(self) -> int | None:
        """Count what has no answer. Returns the ms for which no more is to be read, if it was too much."""


class Boundless:
    """An allowance without an end."""

    def write(self) -> None:
        """Any number."""

    def request(self) -> None:
        """Any number."""

    def hint(self) -> None:
        """Any number."""


class Share:
    """The part of one session."""

    __slots__ = ("_pause_ms", "allowance")

    def __init__(self) -> None:
        self.allowance: Allowance = Boundless()
        self._pause_ms = 0

    def hint(self, parts: int = 0) -> bool:
        """Count what has no answer, as several if it has many parts. Returns whether it was not too much."""
        for _ in range(1 + parts // PARTS):
            pause = self.allowance.hint()
            if pause is not None:
                self._pause_ms = max(self._pause_ms, pause)
                return False
        return True

    def pause_ms(self) -> int:
        """For how long nothing more is to be read; told once."""
        pause, self._pause_ms = self._pause_ms, 0
        return pause
