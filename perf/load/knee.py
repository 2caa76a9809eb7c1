"""Finds the highest rate that a system sustains: stairs up to the first failure, bisection, confirmation.

Pure: `rate` says what to try, `tell` how it went. Gatling calls the stairs a capacity test; that a
found rate has to pass again, several times in a row, is what makes it *sustained*.
"""

from __future__ import annotations

import math

CLIMB = 1.4  # each stair is so much higher than the one before
RESOLUTION = 1.05  # the search ends when pass and failure are so close
CONFIRMATIONS = 3  # passes in a row, beside the first
MOST_STEPS = 24  # a system that never gives the same answer twice is not searched for ever
LOWEST = 1.0  # requests a second


class Knee:
    """One search that begins with `first` requests a second."""

    def __init__(self, first: float, *, confirmations: int = CONFIRMATIONS) -> None:
        self.rate: float | None = first
        self.steps = self.confirmed = 0
        self.low: float | None = None  # the highest that passed and did not fail later
        self.high: float | None = None  # the lowest that failed
        self._wanted, self._ever = confirmations, False

    @property
    def found(self) -> float | None:
        """The confirmed rate, once there is no further step; None if nothing held."""
        return self.low if self.rate is None and self.confirmed >= self._wanted else None

    def tell(self, *, passed: bool) -> None:
        """How `rate` went. Afterwards `rate` is the next one, or None at the end."""
        if self.rate is None:
            return
        self.steps += 1
        if passed:
            self.confirmed = self.confirmed + 1 if self.rate == self.low else 0
            self.low, self._ever = self.rate, True
        else:
            self._failed(self.rate)
        self.rate = self._next() if self.steps < MOST_STEPS else None

    def _failed(self, rate: float) -> None:
        self.high = rate if self.high is None else min(self.high, rate)
        self.confirmed = 0
        if self.low is not None and self.low >= rate:  # it had passed before, but does not hold
            self.low = None

    def _next(self) -> float | None:
        if self.low is None:
            below = (self.high or 0.0) / (RESOLUTION if self._ever else CLIMB)
            return below if below >= LOWEST else None
        if self.high is None:
            return self.low * CLIMB
        if self.high / self.low > RESOLUTION + 1e-9:
            return math.sqrt(self.high * self.low)
        return self.low if self.confirmed < self._wanted else None
