"""`perf stress database-flood`: foreign programs ask more of the database than it has, while devices send.

Writers through the triggers, bulk loads, transactions that hold conversations, heavy readers, and one that
takes every connection: the server must keep its own, answer with typed refusals, and recover.
"""

from __future__ import annotations

import asyncio
from itertools import cycle
from typing import Any

from perf.coverage import Covered
from perf.history.testimony import clock
from perf.load.fleet import Fleet, until
from perf.load.foreign import Foreigners
from perf.load.workload import body
from perf.measure import metrics
from perf.rig.environment import Crowd, RigError
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.parts.flood import (
    MEMBERS,
    Flood,
    calm_conversations,
    flooded,
    phases,
    silence,
    split,
)
from perf.scenarios.parts.shared import conversations_of, starts_of

DEVICES, QUICK_DEVICES = 100, 30  # of the flood: they are in the conversations that are fought over
FLOOD_S, QUICK_FLOOD_S = 15.0, 0.5
WRITERS, READERS, LOCKERS, LOADERS = 8, 4, 2, 1
RATE = 200.0  # messages a second of the flood's own devices
TICK_S = 0.02
FULL_S = 20.0  # for the hoarder to have every connection
RETURN_EVERY_S = 0.5  # a device of the flood comes back so often: it needs the database


def crowd(options: Options) -> Crowd:
    """The calm devices, and those of the flood."""
    devices = options.devices or (QUICK_DEVICES if options.quick else DEVICES)
    return Crowd(
        conversations=calm_conversations(options) + max(1, devices // MEMBERS), members=MEMBERS
    )


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints."""
    return phases(
        options,
        flood_s=_flood_s(options),
        writers=WRITERS,
        readers=READERS,
        long_transactions=LOCKERS,
        bulk_loads=LOADERS,
        hoarders="one, of every connection that is left",
        messages_per_s=_rate(options),
    )


def _flood_s(options: Options) -> float:
    return options.duration_s or (QUICK_FLOOD_S if options.quick else FLOOD_S)


def _rate(options: Options) -> float:
    return options.rate or RATE


async def run(stage: Stage) -> Findings:
    """Calm, flood, recovery."""
    options, environment = stage.options, stage.environment
    if environment.database_url is None:
        raise RigError("database-flood needs the database: give --database URL")
    _, accounts = split(environment.accounts, options)
    foreigners = Foreigners(
        environment.database_url, conversations=conversations_of(accounts), seed=options.seed
    )
    async with flooded(stage) as flood:
        fleet = flood.crew()
        stage.progress.say(f"connecting {len(accounts)} devices of the flood")
        await fleet.connect(accounts, starts=await starts_of(environment))
        before = await metrics.statement_buckets(environment.url)

        async def storm() -> None:
            stage.progress.say(
                "flood: writers, loads, locks, readers, and a hoarder of connections"
            )
            over = False
            async with asyncio.TaskGroup() as group:
                work = [foreigners.write] * WRITERS + [foreigners.read] * READERS
                work += [foreigners.lock] * LOCKERS + [foreigners.load] * LOADERS
                for one in work:
                    group.create_task(one(lambda: not over))
                # Who writes has a connection before the hoarder takes all that are left.
                await until(lambda: foreigners.connected == len(work), within_s=FULL_S)
                group.create_task(foreigners.hoard(lambda: not over))
                await until(lambda: foreigners.full, within_s=FULL_S)
                await _send(fleet, rate=_rate(options), seconds=_flood_s(options))
                over = True

        await flood.endure(storm, flood_s=_flood_s(options))
        served = metrics.since(before, await metrics.statement_buckets(environment.url))
        findings = flood.findings()
        await silence(flood, findings)
    _conclude(flood, foreigners, served, findings)
    return findings


async def _send(fleet: Fleet, *, rate: float, seconds: float) -> None:
    """The flood's own devices send, and one after another comes back."""
    begun, sent, returns = clock(), 0, 0
    devices, leaving = cycle(fleet.devices), cycle(fleet.devices)
    async with asyncio.TaskGroup() as group:
        while (passed := clock() - begun) < seconds:
            for number in range(sent, int(passed * rate)):
                device = next(devices)
                device.send(device.account.conversations[0], body(100, number))
                device.flush()
                sent = number + 1
            if passed > returns * RETURN_EVERY_S:
                returns += 1
                device = next(leaving)
                device.leave()
                group.create_task(_return(fleet, device))
            await asyncio.sleep(TICK_S)


async def _return(fleet: Fleet, device: Any) -> None:
    for _ in range(10):
        if await fleet.open(device):
            return
        await asyncio.sleep(0.5)


def _conclude(
    flood: Flood, foreigners: Foreigners, served: metrics.Buckets, findings: Findings
) -> None:
    done = foreigners.done
    findings.coverage += [
        Covered(name=f"rows were {what} by foreign SQL", kind="sometimes", checked=done[what], held=done[what])
        for what in ("inserted", "updated", "copied")
    ]  # fmt: skip
    findings.coverage.append(
        Covered(
            name="all connections of the database were taken by others",
            kind="sometimes",
            checked=foreigners.hoarded,
            held=int(foreigners.full),
        )
    )
    statements = {name: metrics.percentile_ms(one, 99) for name, one in served.items()}
    findings.figures |= {
        "foreign": dict(done),
        "foreign_errors": dict(foreigners.errors),
        "connections_taken": foreigners.hoarded,
        "server_statement_p99_ms": statements,
        "failed_returns": len(flood.others[0].failures),
    }


SCENARIO = Scenario(
    name="database-flood",
    group="stress",
    title="foreign programs overload the database, and the recovery",
    crowd=crowd,
    run=run,
    plan=plan,
    full=False,
    goals=frozenset({"lost", "lost ack", "reordered"}),
)
