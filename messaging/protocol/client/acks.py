"""When a client acknowledges: the first time at once, then at most every 100 ms, earlier if half the window is used.

All conversations share one frame. An ack per frame from every device would cost more than the
messages themselves; half a window is where a server reads on for a session that fell behind.
"""

from __future__ import annotations

ACK_MS = 100.0


class Acks:
    """What one session owes, and since when."""

    __slots__ = ("_last", "bytes", "max_bytes", "max_messages", "messages", "owed")

    def __init__(self) -> None:
        self.owed: dict[str, None] = {}  # an ordered set of conversations
        self.messages = self.bytes = 0  # received since the last ack
        self.max_messages = self.max_bytes = 0
        self._last: float | None = None

    @property
    def deadline(self) -> float | None:
        """The moment (ms) of the next ack; in the past if it is due now."""
        if not self.owed:
            return None
        if self._last is None or self._half_used:
            return 0.0
        return self._last + ACK_MS

    def take(self, now: float) -> list[str]:
        """The conversations to acknowledge at this moment (ms)."""
        deadline = self.deadline
        if deadline is None or deadline > now:
            return []
        owed = list(self.owed)
        self.owed.clear()
        self.messages = self.bytes = 0
        self._last = now
        return owed

    @property
    def _half_used(self) -> bool:
        return 0 < self.max_messages <= 2 * self.messages or 0 < self.max_bytes <= 2 * self.bytes
