"""How busy this process is, as a level: what is shed first is what nobody connected misses.

Level 1 lets few others in, level 2 refuses to page back over REST, level 3 drops typing and refuses
presence; sends are refused last, by the journal's own bound. A level is of the *least* lag of the last
looks, as in CoDel (Nichols and Jacobson, 2012): a queue that stands, not a burst that passes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic

from messaging import metrics

FEW_AT_A_TIME, NO_HISTORY, NO_HINTS = 1, 2, 3

LOOK_S = 0.1
LOOKS = 5
LAGS = (1, 2, 4)  # times `shed_lag_s`: of the levels
BACKLOGS = (0.5, 0.7, 0.9)  # of what the journal may hold: of the levels
CALM_S = 1.0  # below a level for so long before it is left


class Pressure:
    """The level of now. `backlog` is the share (0 to 1) of what the journal may hold."""

    def __init__(self, *, shed_lag_s: float, clock: Callable[[], float] = monotonic) -> None:
        self.level = 0
        self._lags = tuple(times * shed_lag_s for times in LAGS)
        self._clock = clock
        self._looks: deque[tuple[float, float]] = deque(maxlen=LOOKS)  # lag (s) and backlog
        self._calm_since = 0.0

    def note(self, *, lag_s: float, backlog: float) -> None:
        """One look: how late it came, and how full the journal was."""
        self._looks.append((lag_s, backlog))
        found = self._found()
        now = self._clock()
        if found >= self.level:
            self.level, self._calm_since = found, now
        elif now - self._calm_since >= CALM_S:
            self.level, self._calm_since = self.level - 1, now
        metrics.shedding.set(self.level)

    def _found(self) -> int:
        if len(self._looks) < LOOKS:
            return 0
        lag, backlog = min(look[0] for look in self._looks), min(look[1] for look in self._looks)
        late = sum(lag >= limit > 0 for limit in self._lags)
        return max(late, sum(backlog >= share for share in BACKLOGS))

    async def watch(self, backlog: Callable[[], float]) -> None:
        """Look ten times a second, for ever."""
        while True:
            due = self._clock() + LOOK_S
            await asyncio.sleep(LOOK_S)
            self.note(lag_s=max(self._clock() - due, 0.0), backlog=backlog())
