"""`perf stress messages`: how many messages a second are stored, acknowledged and delivered.

20 conversations of 10 devices, each device keeping some sends unanswered (closed loop), with
authentication, idempotency and receipts from every device. Afterwards every device's log is
compared with the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from perf import probe
from perf.database import connected
from perf.environment import Crowd, Environment
from perf.fleet import Fleet
from perf.history.testimony import clock
from perf.latency import Latency
from perf.probe import Resources, ServerStatements
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.shared import (
    compare,
    connected_percent,
    note_troubles,
    starts_of,
    still,
    usage_of,
)
from perf.targets import outcome
from perf.workload import Saturation

WARM_UP_S = 2.0
DURATION_S = 10.0
QUICK_S = 3.0
OUTSTANDING = 4  # unanswered sends of each device: 800 in all keep the journal's batches full


def crowd(options: Options) -> Crowd:
    """20 conversations x 10 devices, or as many devices as asked for."""
    return Crowd(conversations=max(1, (options.devices or 200) // 10), members=10)


async def run(stage: Stage) -> Findings:
    """Saturate the server, then compare what everyone has."""
    environment, options, say = stage.environment, stage.options, stage.progress.say
    load = Saturation(stage.series)
    fleet = Fleet(url=environment.url, recorder=stage.recorder, observer=load)
    say(f"connecting {len(environment.accounts)} devices")
    await fleet.connect(environment.accounts, starts=await starts_of(environment))
    duration = options.duration_s or (QUICK_S if options.quick else DURATION_S)
    outstanding = options.outstanding or OUTSTANDING
    say(f"sending for {duration:.0f} s, {outstanding} unanswered messages per device")
    async with _watched(environment) as (resources, statements):
        with still():
            passed = await _saturate(
                fleet, load, resources, duration=duration, outstanding=outstanding
            )
        findings = _findings(fleet, load, resources, passed)
        if statements is not None:
            findings.figures["database_statements"] = await statements.top(4)
    findings.figures["outstanding_per_device"] = outstanding
    say("comparing every device with the database")
    await compare(fleet, environment, findings)
    note_troubles(fleet, load, findings)
    return findings


@asynccontextmanager
async def _watched(
    environment: Environment,
) -> AsyncIterator[tuple[Resources, ServerStatements | None]]:
    groups: dict[str, probe.Group] = {
        "server": environment.server_processes,
        "generator": probe.generator,
    }
    if environment.database_url is None:
        yield Resources(groups), None
        return
    async with connected(environment.database_url) as connection:
        groups["postgres"] = await probe.database_group(connection)
        statements = ServerStatements(connection)
        await statements.begin()
        yield Resources(groups), statements


async def _saturate(
    fleet: Fleet, load: Saturation, resources: Resources, *, duration: float, outstanding: int
) -> float:
    """Run the closed loop; return how many seconds were counted."""
    load.start(fleet.devices, outstanding=outstanding)
    try:
        await asyncio.sleep(WARM_UP_S)
        async with resources.measured():
            begun = clock()
            load.counting = True
            await asyncio.sleep(duration)
            load.counting = False
            return clock() - begun
    finally:
        load.stop()


def _findings(fleet: Fleet, load: Saturation, resources: Resources, passed: float) -> Findings:
    answers = Latency()
    answers.extend(load.answer_s)
    durable = load.committed / passed if load.committed else None
    delivered = load.deliveries / passed if load.deliveries else None
    memory = usage_of(resources, "server", "rss_mb")
    return Findings(
        outcomes=[
            outcome("T13.durable", durable, source="acknowledged after the commit, closed loop"),
            outcome("T13.delivered", delivered, source="messages applied by the devices"),
            outcome("T15", memory, source="resident memory of the server's processes"),
            outcome("T7", connected_percent(fleet), source="sessions opened"),
        ],
        latency=answers.summary(),
        figures={
            "durable_messages_per_s": round(durable or 0),
            "deliveries_per_s": round(delivered or 0),
            "frames_per_s": round(load.frames / passed),
            "messages_per_frame": round(load.deliveries / max(load.frames, 1), 1),
            "devices": len(fleet.devices),
            "generator_cpu_percent": usage_of(resources, "generator", "cpu_percent"),
            "other_processes_cpu_percent": resources.others_percent,
            "refusals": load.refusals,
        },
        resources=dict(resources.usage),
    )


SCENARIO = Scenario(
    name="messages",
    group="stress",
    title="messages a second, saturated",
    crowd=crowd,
    run=run,
    judged=False,
    full=False,
)
