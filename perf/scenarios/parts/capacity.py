"""The closed loop: every device keeps some sends unanswered, and the server is as fast as it can be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from perf.history.testimony import clock
from perf.load import probe
from perf.load.fleet import Fleet
from perf.load.generator import Generator
from perf.load.probe import Resources, ServerStatements
from perf.load.workload import Saturation
from perf.measure import metrics
from perf.measure.latency import Latency
from perf.measure.processes import Group
from perf.rig.database import connected
from perf.rig.environment import Environment
from perf.scenario import Stage

WARM_UP_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What is looked at beside the load: groups of processes, and the database's own statistics."""

    groups: Mapping[str, Group]
    statements: ServerStatements | None = None


@asynccontextmanager
async def watched(environment: Environment) -> AsyncIterator[Watched]:
    """Find the processes of the server, the generator and (if it may be asked) PostgreSQL."""
    groups: dict[str, Group] = {
        "server": environment.server_processes,
        "generator": probe.generator,
    }
    if environment.database_url is None:
        yield Watched(groups=groups)
        return
    async with connected(environment.database_url) as connection:
        groups["postgres"] = await probe.database_group(connection)
        statements = ServerStatements(connection)
        await statements.begin()
        yield Watched(groups=groups, statements=statements)


@dataclass(kw_only=True)
class Capacity:
    """What came of `seconds` of a closed loop."""

    load: Saturation
    generator: Generator
    resources: Resources
    seconds: float
    served: metrics.Buckets = field(default_factory=dict)

    @property
    def messages_per_s(self) -> float:
        """Messages that were acknowledged, which follows their commit."""
        return self.load.committed / self.seconds

    @property
    def deliveries_per_s(self) -> float:
        """Messages that devices applied."""
        return self.load.deliveries / self.seconds

    @property
    def answers(self) -> Latency:
        """From each send to its answer."""
        latency = Latency()
        latency.extend(self.load.answer_s)
        return latency


async def saturate(
    stage: Stage,
    fleet: Fleet,
    groups: Mapping[str, Group],
    *,
    outstanding: int,
    seconds: float,
    senders: int | None = None,
    warm_up_s: float = WARM_UP_S,
) -> Capacity:
    """Keep `outstanding` sends of each device (or of `senders` of them) unanswered, and count for
    `seconds` after the warm-up."""
    load, generator, url = Saturation(stage.series), Generator(stage.series), fleet.url
    resources = Resources(groups)
    fleet.observe(load)
    load.start(fleet.devices[:senders], outstanding=outstanding)
    try:
        await asyncio.sleep(warm_up_s)
        before = await metrics.statement_buckets(url)
        async with generator.watched(), resources.measured():
            begun = clock()
            load.counting = True
            await asyncio.sleep(seconds)
            load.counting = False
            passed = clock() - begun
        served = metrics.since(before, await metrics.statement_buckets(url))
    finally:
        load.stop()
    return Capacity(
        load=load, generator=generator, resources=resources, seconds=passed, served=served
    )
