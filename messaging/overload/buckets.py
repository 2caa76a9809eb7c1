"""Token buckets by key, as one moment each: the generic cell rate algorithm (ITU-T I.371).

A bucket is the moment at which it will be full again; one that is full is forgotten, so what is kept is
bounded by who asked for something within the last `burst_s`, and nobody gets a fresh bucket by coming back.
"""

from __future__ import annotations

# Buckets that are not worth a look whether they are full. With a thousand, a fortnight of new people was kept,
# and looked like a leak to whoever counts what is left each night.
FEW = 64
ROUNDING = 1e-9  # s: no token


class Buckets:
    """Each key may take `rate` tokens a second, and `burst_s` seconds' worth at once; a rate of 0 bounds nothing.

    For one event loop, or for threads that don't mind a token too many. Every frame passes here, hence the form.
    """

    __slots__ = ("_full", "_most", "_period", "_sweep_at")

    def __init__(self, *, rate: float, burst_s: float) -> None:
        self._period = 1 / rate if rate > 0 else 0.0
        self._most = max(burst_s, self._period) + ROUNDING
        self._full: dict[str, float] = {}  # key -> s of the clock
        self._sweep_at = FEW

    def __len__(self) -> int:
        return len(self._full)

    def take(self, key: str, now: float) -> int | None:
        """Take a token at this moment (s of one clock). None if there was one, else the ms until a quarter of the bucket is there.

        Until one token is there would be too soon: whoever has many to take would ask in vain for most.
        """
        period = self._period
        if not period:
            return None
        known = self._full.get(key)
        full = (now if known is None or known < now else known) + period
        if full - now > self._most:
            return 1 + int((full - now - self._most + self._most / 4) * 1000)
        self._full[key] = full
        if known is None and len(self._full) > self._sweep_at:
            self._sweep(now)
        return None

    def _sweep(self, now: float) -> None:
        """Forget the full ones; then only when there are twice as many, so that a token costs the same at any size."""
        for key in [key for key, full in list(self._full.items()) if full <= now]:
            self._full.pop(key, None)
        self._sweep_at = max(FEW, 2 * len(self._full))
