"""Steps of a ramp beyond what one process may open: a crew carries them, this process goes on holding what it has.

What is different: the load of such a step is among the crew's devices, and it is their deliveries that
have to reach all; this process's devices are pinged as before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from perf.history.testimony import clock
from perf.load.crew import Crew, Load
from perf.load.flow import Flow
from perf.load.generator import Generator
from perf.load.plan import Phase
from perf.load.probe import Resources
from perf.measure.latency import Latency
from perf.rig.accounts import Account
from perf.scenarios.parts.ramp import LOAD_RATE, PACED, PACED_SHARE, SETTLE_S, Ramp, Seen, Step


@dataclass(kw_only=True)
class Beyond:
    """The steps that a crew carries, among those of `ramp`. Each conversation has `members`."""

    ramp: Ramp
    crew: Crew
    members: int
    unsettled: int = 0  # requests and cursors of the crew that were open after a load

    async def climb(self, accounts: Sequence[Account]) -> Step:
        """Add these sessions, which are of whole conversations, and look what it is like. Raises RigError."""
        ramp, failed = self.ramp, len(self.crew.failures)
        ramp.stage.series.mark(f"to {ramp.online + len(accounts):,} connections, by a crew")
        rate, paced, ramping = await self._connect(accounts)
        working = Resources(ramp.groups)
        async with working.measured():
            load = await self._load()
        flow, generator = _as_of_one(load)
        idle = await ramp.measured(asyncio.sleep(ramp.idle_s))
        ramp.elsewhere = sum(state.online for state in await self.crew.look())
        self.unsettled += sum(part.unsettled for part in load.parts)
        asked = sum(part.asked for part in load.parts)
        return await ramp.conclude(
            Seen(
                attempts=len(accounts),
                failed=len(self.crew.failures) - failed,
                connect_per_s=rate,
                paced=paced,
                flow=flow,
                generator=generator,
                ramp=ramping,
                load=working,
                idle=idle,
                due=asked * (self.members - 1),
                reached=load.delivery.count,
                reach_s=0.0,
            )
        )

    async def _connect(self, accounts: Sequence[Account]) -> tuple[float, Latency, Resources]:
        """Open the sessions; return the rate, the times of the last ones, at half of it, and what it took."""
        few = min(PACED, round(PACED_SHARE * len(accounts))) // self.members
        late = len(accounts) - max(few, 1) * self.members
        resources, begun, before = Resources(self.ramp.groups), clock(), len(self.crew.connect_s)
        async with resources.measured():
            await self.crew.connect(accounts[:late])
        rate = (len(self.crew.connect_s) - before) / max(clock() - begun, 1e-9)
        before = len(self.crew.connect_s)
        await self.crew.connect(accounts[late:], rate=max(rate / 2, 1.0))
        times = Latency()
        times.extend(self.crew.connect_s[before:])
        return rate, times, resources

    async def _load(self) -> Load:
        """A light load for everybody in the crew."""
        options = self.ramp.stage.options
        return await self.crew.work(
            [Phase(seconds=self.ramp.load_s, rate=options.rate or LOAD_RATE)],
            seed=options.seed + len(self.ramp.flows) + 1,
            settle_s=SETTLE_S,
        )


def _as_of_one(load: Load) -> tuple[Flow, Generator]:
    """What the workers measured, as if one process had."""
    flow, generator = Flow(), Generator()
    flow.delivery.merge(load.delivery)
    generator.lateness.merge(load.lateness)
    generator.lag.merge(load.lag)
    generator.cpu_percent = max((part.cpu_percent for part in load.parts), default=0.0)
    for part in load.parts:
        flow.closures += part.closures
        flow.declined += part.declined
        for code, count in part.refusals.items():
            flow.refusals[code] = flow.refusals.get(code, 0) + count
    return flow, generator
