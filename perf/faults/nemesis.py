"""Several faults, one after the other: which, when and for how long comes from the seed.

The next begins after a pause in which not everybody may have come back: faults meet what the last has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from perf.faults.fault import Fault, Known, Site
from perf.faults.schedule import Step, steps
from perf.history.testimony import clock

COUNT: Final = 5
NAME: Final = "nemesis"
WHAT: Final = f"{COUNT} faults one after the other, chosen and timed by the seed"


class Nemesis(Fault):
    """Brings about each in turn; a fault of it that nobody felt proves nothing."""

    name = NAME
    what = WHAT
    hold_s = (0.0, 0.0)

    def __init__(self, site: Site, known: Mapping[str, Known]) -> None:
        super().__init__(site)
        self._known, self._now = known, None
        self._felt: dict[str, float] = {}

    async def begin(self) -> None:
        """All of them, each healed before the next."""
        for step in plan(self.site.seed, self._known):
            await asyncio.sleep(step.pause_s)
            await self._strike(step)

    async def end(self) -> None:
        """Nothing: each was healed."""

    async def felt(self) -> dict[str, float]:
        """What was met of each, in sum."""
        return dict(self._felt)

    def unfelt(self, felt: Mapping[str, float]) -> list[str]:
        """Those that nobody felt, and those that never came."""
        chosen = [step.name for step in plan(self.site.seed, self._known)]
        return [name for name in chosen if not felt.get(name)]

    async def _strike(self, step: Step) -> None:
        fault, since = self._known[step.name].make(self.site), clock()
        try:
            await fault.begin()
            fault.testify(since)
            await asyncio.sleep(step.hold_s)
            met = sum((await fault.felt()).values())
        finally:
            await fault.end()
            fault.testify(since, clock())
        # A kill is met only when somebody looks for what is gone.
        met = max(met, sum((await fault.felt()).values()))
        self._felt[step.name] = self._felt.get(step.name, 0.0) + met
        self.broken += fault.broken
        self.checked += fault.checked
        self.ends_servers |= fault.ends_servers


def plan(seed: int, known: Mapping[str, Known]) -> list[Step]:
    """The faults of this seed: of those that need nothing prepared."""
    return steps(seed, {name: one.hold_s for name, one in known.items()}, count=COUNT)


def known(others: Mapping[str, Known]) -> Known:
    """The nemesis as the command line knows it, which chooses from these."""
    return Known(WHAT, Nemesis.hold_s, lambda site: Nemesis(site, others))
