"""`perf stress message-flood`: more messages than can be stored, from honest devices and from abusive ones.

First the capacity is measured (closed loop); then devices that keep all rules are asked for a multiple
of it, while two devices flood alone beyond their session's limits and one sends what is too large.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from messaging.protocol.errors import CloseCode
from perf.coverage import Covered
from perf.history.testimony import clock
from perf.load import abuse
from perf.load.abuse import Flooder, Heavy
from perf.load.fleet import Fleet, until
from perf.load.workload import body
from perf.rig.database import connected
from perf.rig.environment import Crowd
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.parts.capacity import Capacity, saturate
from perf.scenarios.parts.flood import (
    MEMBERS,
    Flood,
    calm_conversations,
    flooded,
    phases,
    silence,
    split,
)
from perf.scenarios.parts.shared import starts_of

DEVICES, QUICK_DEVICES = 500, 60  # of the flood
FACTOR = 2.5  # of the capacity
FLOOD_S, QUICK_FLOOD_S = 6.0, 0.5
CAPACITY_S, QUICK_CAPACITY_S = 4.0, 0.5
CAPACITY_WARM_UP_S, QUICK_CAPACITY_WARM_UP_S = 1.0, 0.3
IN_FLIGHT = 1_000  # of all devices, while the capacity is measured
TICK_S = 0.02
BURST = 4  # messages of one device at a time
LENGTH = 100
WELCOME_S = 10.0  # for the abusive devices to get in
END_S = 30.0  # for the abusive devices to be answered and closed, after the recovery
PAST = 1.2  # times the capacity must have been asked for, or it was no flood


def crowd(options: Options) -> Crowd:
    """The calm devices, and those of the flood."""
    devices = options.devices or (QUICK_DEVICES if options.quick else DEVICES)
    return Crowd(
        conversations=calm_conversations(options) + max(1, devices // MEMBERS), members=MEMBERS
    )


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints."""
    found = phases(
        options,
        flood_s=_flood_s(options),
        rate=options.rate or f"{FACTOR:g} times the capacity",
        abusive_devices=3,
    )
    capacity_s = _capacity_s(options) + _capacity_warm_up_s(options)
    return {"capacity": {"seconds": capacity_s}, **found, "seconds": found["seconds"] + capacity_s}


def _flood_s(options: Options) -> float:
    return options.duration_s or (QUICK_FLOOD_S if options.quick else FLOOD_S)


def _capacity_s(options: Options) -> float:
    return QUICK_CAPACITY_S if options.quick else CAPACITY_S


def _capacity_warm_up_s(options: Options) -> float:
    return QUICK_CAPACITY_WARM_UP_S if options.quick else CAPACITY_WARM_UP_S


async def run(stage: Stage) -> Findings:
    """Capacity, calm, flood, recovery."""
    options, environment = stage.options, stage.environment
    _, (*honest, first, second, third) = split(environment.accounts, options)
    prefix = f"abuse-{stage.recorder.run}"
    floods = [
        Flooder(environment.url, first, prefix=f"{prefix}-a"),
        Flooder(environment.url, second, prefix=f"{prefix}-b", edits=True),
    ]
    heavy = Heavy(environment.url, third, prefix=f"{prefix}-h")
    async with flooded(stage) as flood:
        fleet = flood.crew()
        stage.progress.say(f"connecting {len(honest)} devices of the flood")
        await fleet.connect(honest, starts=await starts_of(environment))
        capacity = await _capacity(flood, fleet)
        rate = options.rate or FACTOR * capacity.messages_per_s
        asked, late = await _endure(flood, fleet, [*floods, heavy], rate=rate)
        findings = flood.findings()
        if late:
            findings.broken.append(
                f"{late} abusive devices were neither answered nor closed within {END_S:.0f} s of the recovery"
            )
        await silence(flood, findings)
    _conclude(flood, capacity, rate, asked, findings)
    await _conclude_abuse(floods, heavy, environment.database_url, findings)
    return findings


async def _endure(
    flood: Flood, fleet: Fleet, abusers: Sequence[Flooder | Heavy], *, rate: float
) -> tuple[int, int]:
    """Calm, flood, recovery. Returns how many messages were asked for, and how many abusers heard no end."""
    seconds, asked, over = _flood_s(flood.stage.options), 0, False
    async with asyncio.TaskGroup() as abusive:
        tasks: list[asyncio.Task[None]] = []

        async def storm() -> None:
            nonlocal asked, over
            flood.stage.progress.say(
                f"flood: {rate:,.0f} messages a second, and {len(abusers)} abusive devices"
            )
            tasks.extend(abusive.create_task(one.run(lambda: not over)) for one in abusers)
            await until(lambda: all(one.told.welcomed for one in abusers), within_s=WELCOME_S)
            asked = await _pour(flood, fleet, rate=rate, seconds=seconds)
            over = True

        await flood.endure(storm, flood_s=seconds)
        late = await _dismiss(tasks)
    return asked, late


async def _dismiss(tasks: Sequence[asyncio.Task[None]]) -> int:
    """Let the abusive devices come to their end; return how many had to be stopped."""
    _, late = await asyncio.wait(tasks, timeout=END_S)
    for task in late:
        task.cancel()
    return len(late)


async def _capacity(flood: Flood, fleet: Fleet) -> Capacity:
    """Measure what can be stored, without anybody else."""
    stage = flood.stage
    capacity = await saturate(
        stage,
        fleet,
        flood.resources.groups,
        outstanding=max(1, IN_FLIGHT // len(fleet.devices)),
        seconds=_capacity_s(stage.options),
        warm_up_s=_capacity_warm_up_s(stage.options),
    )
    await fleet.quiesce(within_s=30)
    fleet.observe(flood.troubles[0])
    stage.progress.say(f"capacity: {capacity.messages_per_s:,.0f} messages a second")
    return capacity


async def _pour(flood: Flood, fleet: Fleet, *, rate: float, seconds: float) -> int:
    """Ask for `rate` messages a second whatever comes back; return how many were asked for."""
    begun, asked, devices = clock(), 0, cycle(fleet.devices)
    while (now := clock()) < begun + seconds:
        due = int((now - begun) * rate) - asked
        while due >= BURST:
            device = next(devices)
            for number in range(asked, asked + BURST):
                device.send(device.account.conversations[0], body(LENGTH, number))
            device.flush()
            asked, due = asked + BURST, due - BURST
        flood.stage.series.worst("load.backlog", fleet.pending)
        await asyncio.sleep(TICK_S)
    return asked


def _conclude(
    flood: Flood, capacity: Capacity, rate: float, asked: int, findings: Findings
) -> None:
    offered = asked / _flood_s(flood.stage.options)
    findings.figures |= {
        "capacity_messages_per_s": round(capacity.messages_per_s),
        "asked_messages_per_s": round(rate),
        "offered_messages_per_s": round(offered),
    }
    if offered < PAST * capacity.messages_per_s:
        findings.unknown.append(
            f"the generator offered only {offered:,.0f} messages a second: no flood for a capacity of {capacity.messages_per_s:,.0f}"
        )


async def _conclude_abuse(
    floods: list[Flooder], heavy: Heavy, database_url: str | None, findings: Findings
) -> None:
    sends, edits = floods
    closed = edits.told.ends[f"{int(CloseCode.OVERLOADED)} {CloseCode.OVERLOADED.reason}"]
    findings.coverage += [
        *sends.told.covered("a device that floods one conversation"),
        *edits.told.covered("a device that floods with edits"),
        *heavy.covered(),
        Covered(
            name="a device that went on in spite of overloaded was closed with 4002 after a goodbye",
            kind="sometimes",
            checked=edits.told.ends.total(),
            held=closed,
        ),
    ]
    findings.figures["abusers"] = {
        name: {"sent": told.sent, "promised": len(told.promised), "refusals": dict(told.refusals), "ends": dict(told.ends)}
        for name, told in (("sends", sends.told), ("edits", edits.told), ("heavy", heavy.told))
    }  # fmt: skip
    if database_url is None:
        return
    promised = sends.told.promised | heavy.told.promised
    async with connected(database_url) as connection:
        missing = await abuse.lost(connection, promised)
    if missing:
        findings.broken.append(
            f"{missing} of {len(promised)} messages promised to abusive devices are not stored exactly once"
        )


SCENARIO = Scenario(
    name="message-flood",
    group="stress",
    title="more messages than can be stored, and the recovery",
    crowd=crowd,
    run=run,
    plan=plan,
    full=False,
    goals=frozenset({"lost", "lost ack", "reordered"}),
)
