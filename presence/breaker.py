"""A circuit breaker (Nygard, "Release It!", chapter 5): whoever would only wait for a time-out is told at once.

Closed, everybody asks. Open, all are refused but one a second, whose outcome decides (half-open). No
clock runs here, and nothing is asked: who asks says how it went.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Literal, TypeAlias

State: TypeAlias = Literal["closed", "open", "half-open"]

# A restart takes a second or two, and what waits for it needs no refusal; clients wait 10 s for a welcome.
PATIENCE_S = 5.0
PROBE_S = 1.0  # between two that may try: as often as clients that were refused come back


class Breaker:
    """Opens when all that was tried has failed for `patience_s`; the first success closes it.

    `on_change` is told when it opens and when it closes.
    """

    def __init__(
        self, *, patience_s: float = PATIENCE_S, clock: Callable[[], float] = monotonic
    ) -> None:
        self.patience_s, self._clock = patience_s, clock
        self._failing_since: float | None = None
        self._next_probe = 0.0
        self._probing = False
        self.is_open = False  # half-open, too
        self.on_change: Callable[[State], None] = lambda _: None

    @property
    def state(self) -> State:
        """Where it stands; `half-open` while one of those that were refused tries."""
        if not self.is_open:
            return "closed"
        return "half-open" if self._probing else "open"

    @property
    def failing(self) -> bool:
        """Whether nothing has succeeded since the last failure, however long that is."""
        return self._failing_since is not None

    def failed(self, *, since: float) -> bool:
        """Something that was begun at `since` (s of the clock) failed. Returns whether the breaker is open now.

        A time-out has failed for as long as it lasted, so the first one of a frozen server may be enough.
        """
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = since
        if now - self._failing_since >= self.patience_s:
            self._probing = False
            self._next_probe = now + PROBE_S
            if not self.is_open:
                self.is_open = True
                self.on_change("open")
        return self.is_open

    def succeeded(self) -> None:
        """Something was answered, be it with a refusal."""
        self._failing_since = None
        if self.is_open:
            self.is_open = self._probing = False
            self.on_change("closed")

    def refuses(self) -> bool:
        """Whether not to ask. Who hears no is to ask, and to say how it went; if that is never said, another may."""
        if not self.is_open:
            return False
        now = self._clock()
        if now < self._next_probe:
            return True
        self._probing = True
        self._next_probe = now + PROBE_S
        return False
