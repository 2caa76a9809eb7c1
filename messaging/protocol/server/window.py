"""Flow control by credit: how much is on its way to a session and not yet acknowledged.

Only what was sent on this session counts. A session without credit receives no live changes; it
keeps its cursors and is fed from the database as its acknowledgements come in.
"""

from __future__ import annotations

from collections import deque

# G10: 1,000 stalled readers with a full window each stay below 100 MB.
WINDOW_MESSAGES = 1_000
WINDOW_BYTES = 81_920
SLOW_S = 60.0  # a session without credit for so long is told goodbye
SLOW_RECONNECT_MS = 1_000


class Window:
    """The credit of one session, in messages and bytes of `events` frames."""

    __slots__ = ("_bytes", "_flight", "_messages", "_starved_since", "max_bytes", "max_messages")

    def __init__(self, *, messages: int = WINDOW_MESSAGES, size: int = WINDOW_BYTES) -> None:
        self.max_messages, self.max_bytes = messages, size
        self._messages = self._bytes = 0
        self._flight: dict[str, deque[tuple[int, int, int]]] = {}
        self._starved_since: float | None = None

    @property
    def exhausted(self) -> bool:
        """Whether nothing more may be sent; one frame may always be in flight, however large."""
        return self._messages >= self.max_messages or self._bytes >= self.max_bytes

    @property
    def roomy(self) -> bool:
        """Whether at least half of the window is free: the moment to read on from the database."""
        return self._messages * 2 <= self.max_messages and self._bytes * 2 <= self.max_bytes

    def sent(self, conversation: str, *, upto: int, messages: int, size: int) -> None:
        """Count a frame that is on its way."""
        self._messages += messages
        self._bytes += size
        flight = self._flight.get(conversation)
        if flight is None:
            flight = self._flight[conversation] = deque()
        flight.append((upto, messages, size))

    def acknowledged(self, conversation: str, upto: int) -> bool:
        """Give back the credit of frames up to `upto`. Returns whether any came back."""
        flight = self._flight.get(conversation)
        if not flight or flight[0][0] > upto:
            return False
        while flight and flight[0][0] <= upto:
            _, messages, size = flight.popleft()
            self._messages -= messages
            self._bytes -= size
        if not flight:
            del self._flight[conversation]
        self._starved_since = None
        return True

    def starved_s(self, now: float) -> float:
        """For how long (s) there has been no credit and none came back, as far as it was asked."""
        if not self.exhausted:
            self._starved_since = None
            return 0.0
        if self._starved_since is None:
            self._starved_since = now
        return now - self._starved_since

    def forget(self, conversation: str) -> None:
        """Give back all credit of a conversation that the session left."""
        if conversation in self._flight:
            self.acknowledged(conversation, 2**63)

    def written(self) -> dict[str, int]:
        """For clients that never acknowledge: everything in flight, by conversation, as if acknowledged now.

        The last frame is not always the newest: a page that the client asked for may follow it.
        """
        flying, self._flight = self._flight, {}
        self._messages = self._bytes = 0
        return {place: max(upto for upto, _, _ in flight) for place, flight in flying.items()}
