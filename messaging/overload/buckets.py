"""Token buckets by key, as one moment each: the generic cell rate algorithm (ITU-T I.371).

A bucket is the moment at which it will be full again; one that is full is forgotten, so what is kept is
bounded by who asked for something within the last `burst_s`, and nobody gets a fresh bucket by coming back.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

FEW = 1_024  # buckets that are not worth a look whether they are full


class Buckets:
    """Each key may take `rate` tokens a second, and `burst_s` seconds' worth at once; a rate of 0 bounds nothing.

    For one event loop, or for threads that don't mind a token too many.
    """

    def __init__(
        self, *, rate: float, burst_s: float, clock: Callable[[], float] = monotonic
    ) -> None:
        self._period = 1 / rate if rate > 0 else 0.0
        self._most = max(burst_s, self._period)
        self._clock = clock
        self._full: dict[str, float] = {}  # key -> s of the clock
        self._sweep_at = FEW

    def __len__(self) -> int:
        return len(self._full)

    def take(self, key: str) -> int | None:
        """Take a token. None if there was one, else the ms until a quarter of the bucket is there.

        Until one token is there would be too soon: whoever has many to take would ask in vain for most.
        """
        now = self._clock()
        full = max(self._full.get(key, now), now) + self._period
        missing = full - now - self._most
        if missing > 1e-9:  # rounding is no token
            return 1 + int((missing + self._most / 4) * 1000)
        if self._period:
            self._full[key] = full
            if len(self._full) > self._sweep_at:
                self._sweep(now)
        return None

    def _sweep(self, now: float) -> None:
        """Forget the full ones; then only when there are twice as many, so that a token costs the same at any size."""
        kept = {key: full for key, full in list(self._full.items()) if full > now}
        self._full = kept
        self._sweep_at = max(FEW, 2 * len(kept))
