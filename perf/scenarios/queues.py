"""`perf stress queues`: a thousand devices come back to a thousand missed messages each.

100 conversations of 12: ten members are away, two go on. These two fill the conversation through the
journal at its capacity, and keep talking while the ten come back. Afterwards every one of the
million deliveries is checked by its identity.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from perf.history.testimony import clock
from perf.load.alongside import alongside
from perf.load.device import Device
from perf.load.fleet import Fleet, FleetError
from perf.load.flow import Flow
from perf.load.generator import Generator
from perf.load.observer import Observer, Troubles
from perf.load.plan import Phase, make
from perf.load.probe import Pulse, Resources
from perf.load.workload import OpenLoop
from perf.measure import metrics
from perf.rig.environment import Crowd
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.parts.backlog import AT_ONCE, Filling, Homecoming
from perf.scenarios.parts.capacity import Watched, watched
from perf.scenarios.parts.shared import (
    agreement,
    apart,
    connected_percent,
    note_generator,
    note_troubles,
    settle,
    starts_of,
    still,
    usage_of,
)
from perf.targets import Outcome, outcome

AWAY, LIVE = 10, 2  # members of each conversation
DEVICES, QUICK_DEVICES = 1_000, 50  # that are away
MISSED, QUICK_MISSED = 1_000, 200  # messages of each conversation
IN_FLIGHT = 1_000  # unanswered sends of all writers together: they keep the journal's batches full
LIVE_RATE = 50.0  # messages/s of the live devices meanwhile
FILL_S, RETURN_S = 300.0, 120.0  # after that it has failed, and no figure
STORED_PER_S, CAUGHT_UP_PER_S = (
    5_000,
    60_000,
)  # of a usual machine; only the plan's cost depends on it


@dataclass(kw_only=True)
class Queues:
    """One run's parts."""

    stage: Stage
    live: Fleet
    away: Fleet
    flow: Flow
    troubles: Troubles
    filling: Filling
    home: Homecoming
    pulse: Pulse
    generator: Generator
    resources: Resources
    missed: int
    before_mb: float | None = None
    after_mb: float | None = None
    late: int = 0
    fill_s: float = 0.0
    served: metrics.Buckets = field(default_factory=dict)


def crowd(options: Options) -> Crowd:
    """Conversations of ten that will be away and two that stay."""
    devices = options.devices or (QUICK_DEVICES if options.quick else DEVICES)
    return Crowd(conversations=max(1, devices // AWAY), members=AWAY + LIVE)


def missed_of(options: Options) -> int:
    """Messages that each device misses."""
    return QUICK_MISSED if options.quick else MISSED


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints."""
    conversations, missed = crowd(options).conversations, missed_of(options)
    deliveries = conversations * AWAY * missed
    return {
        "away": conversations * AWAY,
        "missed_each": missed,
        "messages": conversations * missed,
        "deliveries": deliveries,
        "return": f"{options.rate:,.0f} a second"
        if options.rate
        else f"as soon as they are let in, {AT_ONCE} connecting at a time",
        "live_messages_per_s": LIVE_RATE,
        "seconds": round(
            conversations * (AWAY + LIVE) / 150
            + conversations * missed / STORED_PER_S
            + deliveries / CAUGHT_UP_PER_S
            + 10
        ),
    }


async def run(stage: Stage) -> Findings:
    """Send most devices away, fill their conversations, and bring them back."""
    async with watched(stage.environment) as beside:
        it = await _prepared(stage, beside)
        with still():
            await _fill(it)
            await _bring_back(it, beside)
        findings = _findings(it)
        if beside.statements is not None:
            findings.figures["database_statements"] = await beside.statements.top(6)
        await settle(it.live, findings)
        await settle(it.away, findings)
    findings.concluding = agreement
    note_troubles(it.live, findings, it.flow, it.filling)
    note_troubles(it.away, findings, it.troubles)
    return findings


async def _prepared(stage: Stage, beside: Watched) -> Queues:
    place, options = stage.environment, stage.options
    flow, troubles = Flow(stage.series), Troubles()
    live = Fleet(url=place.url, recorder=stage.recorder, observer=Observer())
    away = Fleet(url=place.url, recorder=stage.recorder, observer=troubles)
    staying, leaving = apart(place.accounts, first=LIVE)
    starts = await starts_of(place)
    stage.progress.say(f"connecting {len(staying)} devices that stay, {len(leaving)} that leave")
    await live.connect(staying, starts=starts)
    await away.connect(leaving, starts=starts)
    for device in away.devices:
        device.leave()
    missed, writers = missed_of(options), max(len(live.devices), 1)
    filling = Filling(
        stage.series,
        each=missed // LIVE,
        outstanding=options.outstanding or max(1, IN_FLIGHT // writers),
    )
    return Queues(
        stage=stage,
        live=live,
        away=away,
        flow=flow,
        troubles=troubles,
        filling=filling,
        home=Homecoming(
            fleet=away, goals={}, within_s=RETURN_S, seed=options.seed, rate=options.rate
        ),
        pulse=Pulse(live.devices),
        generator=Generator(stage.series),
        resources=Resources(beside.groups),
        missed=missed,
    )


async def _fill(it: Queues) -> None:
    """Have the live devices fill the conversations. Raises FleetError if that does not end."""
    say, begun = it.stage.progress.say, clock()
    total = it.missed // LIVE * len(it.live.devices)
    say(f"storing {total:,} messages while {len(it.away.devices)} devices are away")
    it.stage.series.mark("filling")
    it.live.observe(it.filling)
    if not await it.filling.run(it.live.devices, within_s=FILL_S):
        raise FleetError(
            f"only {it.filling.stored:,} of {total:,} messages were stored in {FILL_S:.0f} s"
        )
    it.fill_s = clock() - begun
    await it.live.quiesce(within_s=RETURN_S)


async def _bring_back(it: Queues, beside: Watched) -> None:
    """Let everybody come back beside a live load, pings and clocks."""
    stage, url = it.stage, it.stage.environment.url
    it.home.goals = _goals(it.live.devices)
    stage.series.gauge("queues.level", lambda: float(it.home.level.count))
    it.before_mb = await _memory(beside)
    before = await metrics.statement_buckets(url)
    it.live.observe(it.flow)
    stage.series.mark("all come back")
    with stage.progress.bar("coming back", len(it.away.devices)) as bar:
        others = alongside(_live_load(it).run(clock()), it.pulse.run(), _advance(it, bar))
        async with it.generator.watched(), it.resources.measured(), others:
            it.flow.count_from = clock()
            it.late = await it.home.run(it.away.devices)
            it.flow.count_from = float("inf")
    it.pulse.settle(lambda asked: False)
    it.served = metrics.since(before, await metrics.statement_buckets(url))
    it.after_mb = await _memory(beside)


def _live_load(it: Queues) -> OpenLoop:
    """What those say who never left."""
    plan = make(
        seed=it.stage.options.seed,
        phases=[Phase(seconds=RETURN_S, rate=LIVE_RATE)],
        devices=len(it.live.devices),
    )
    return OpenLoop(it.live.devices, plan, it.generator, it.stage.series)


async def _advance(it: Queues, bar: Any) -> None:
    done = 0
    while True:
        await asyncio.sleep(0.5)
        bar.advance(it.home.level.count - done)
        done = it.home.level.count


async def _memory(beside: Watched) -> float | None:
    resources = Resources(beside.groups)
    async with resources.measured():
        pass
    return usage_of(resources, "server", "rss_mb")


def _goals(devices: Sequence[Device]) -> Mapping[str, int]:
    """Where each conversation stands."""
    goals: dict[str, int] = {}
    for device in devices:
        for conversation, cursor in device.client.cursors.items():
            goals[conversation] = max(goals.get(conversation, 0), cursor)
    return goals


def _findings(it: Queues) -> Findings:
    level = it.home.level
    found = Findings(outcomes=_outcomes(it), latency=level.summary(), figures=_figures(it))
    if it.late:
        found.broken.append(f"{it.late} devices were not level within {RETURN_S:.0f} s")
    found.resources = dict(it.resources.usage)
    found.spectra = {
        "a device is level": level,
        "a device is welcomed": it.home.welcome,
        "delivery between live devices": it.flow.delivery,
    }
    note_generator(it.generator, found)
    return found


def _outcomes(it: Queues) -> list[Outcome]:
    served = metrics.percentile_ms(metrics.merged(it.served), 99)
    longest = it.home.level.summary().max
    took = None if it.late or longest is None else longest / 1000
    return [
        outcome("T11", took, source=f"the slowest of {len(it.away.devices)} devices, from its connect until it had all of {it.missed:,} messages"),
        outcome("T4", served, source="the server's own /metrics, while all come back"),
        outcome("T7", connected_percent(it.live, it.away), source="sessions opened, returns among them"),
        outcome("T9", it.pulse.uptime_percent, source=f"{it.pulse.asked} pings of live devices answered within 1 s"),
        outcome("T15", usage_of(it.resources, "server", "rss_mb"), source="resident, the most while all come back"),
    ]  # fmt: skip


def _figures(it: Queues) -> dict[str, Any]:
    caught_up = it.home.level.count * it.missed
    seconds = max(it.home.seconds, 1e-9)
    return {
        "converged_after_s": round(it.home.seconds, 2),
        "caught_up_messages": caught_up,
        "catch_up_messages_per_s": round(caught_up / seconds),
        "level_p50_ms": it.home.level.percentile(50),
        "level_p99_ms": it.home.level.percentile(99),
        "welcome_p99_ms": it.home.welcome.percentile(99),
        "live_delivery_p50_ms": it.flow.delivery.percentile(50),
        "live_delivery_p99_ms": it.flow.delivery.percentile(99),
        "live_deliveries": it.flow.delivery.count,
        "stored_messages_per_s": round(it.filling.stored / max(it.fill_s, 1e-9)),
        "repeated_connects": it.home.repeats,
        "server_mb_before": it.before_mb,
        "server_mb_after": it.after_mb,
        "server_statement_p99_ms": {
            name: metrics.percentile_ms(buckets, 99) for name, buckets in it.served.items()
        },
        "generator": it.generator.figures(),
    }


SCENARIO = Scenario(
    name="queues",
    group="stress",
    title="everybody comes back to a full inbox",
    crowd=crowd,
    run=run,
    plan=plan,
    full=False,
    goals=frozenset({"lost", "lost ack", "reordered", "resume gap", "resume", "catch-up"}),
)
