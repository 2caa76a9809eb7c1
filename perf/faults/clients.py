"""Faults of clients: readers that stall, and frames that come twice.

A client clock that is wrong by hours is none: no frame carries a client's time, and clients wait by
their monotonic clock only.
"""

from __future__ import annotations

from collections.abc import Iterable

from perf.faults.fault import Fault, Silence
from perf.load.device import Device


class StalledReader(Fault):
    """Half of the second server's devices read nothing for a while, as an app that the system has frozen."""

    name = "stalled-reader"
    what = "half of the second server's devices stop reading their sockets, and go on later"
    hold_s = (8.0, 12.0)
    behind = 0.0

    async def begin(self) -> None:
        """Stop reading."""
        self._stalled: list[Device] = self.site.far.devices[::2]
        for device in self._stalled:
            device.stall(stalled=True)

    async def end(self) -> None:
        """Read on."""
        for device in getattr(self, "_stalled", []):
            device.stall(stalled=False)

    def silences(self) -> Iterable[Silence]:
        """Those: they don't see what they are told."""
        yield Silence(devices=getattr(self, "_stalled", []), untold=True)

    async def felt(self) -> dict[str, float]:
        """They are behind the others."""
        self.behind = max(self.behind, self.site.behind())
        return {"devices behind": self.behind}


class Replay(Fault):
    """Every device sends everything twice."""

    name = "replay"
    what = "every WebSocket message of every device is sent twice"
    hold_s = (4.0, 8.0)
    _answered = 0.0

    async def begin(self) -> None:
        """Begin to send twice."""
        self._answered = self._repeats()
        for fleet in (self.site.near, self.site.far):
            fleet.around.copies = 2

    async def end(self) -> None:
        """Send once again."""
        for fleet in (self.site.near, self.site.far):
            fleet.around.copies = 1

    async def felt(self) -> dict[str, float]:
        """Requests that were answered although they had an answer."""
        return {"answers to repeats": self._repeats() - self._answered}

    def _repeats(self) -> float:
        return float(sum(device.repeats for device in self.site.devices))
