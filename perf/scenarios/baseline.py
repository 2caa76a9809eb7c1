"""`perf baseline`: every target at normal load, on one table.

100 devices (50 users with two each) in 10 conversations, 200 messages a second by a seeded plan.
Beside the load it opens further sessions, pings, and asks the database; afterwards devices are
cut off and catch up, and every device's log is compared with the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from perf import metrics, probe
from perf.coverage import Covered
from perf.database import Connection, connected
from perf.environment import Crowd, Environment
from perf.fleet import Fleet, until
from perf.flow import Flow
from perf.generator import Generator
from perf.history.testimony import clock
from perf.latency import Latency
from perf.observer import Observer
from perf.plan import Mix, Phase, Plan, described, make
from perf.presets import phases_of
from perf.probe import DatabaseProbe, Pulse, Resources, ServerStatements
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.returns import MISSED, Returns
from perf.scenarios.shared import (
    compare,
    connected_percent,
    conversations_of,
    note_generator,
    note_troubles,
    outcome_of,
    starts_of,
    still,
    usage_of,
)
from perf.targets import Outcome, outcome
from perf.workload import OpenLoop

RATE = 200.0
DURATION_S, QUICK_S = 10.0, 3.0
WARM_UP_S = 1.0  # of the plan, not counted: statements are prepared, caches are filled
VISIT_S = 0.25  # how often a further session is opened during the load
RECEIPTS_S = 2.0  # how long after the load read receipts may still come
ROUNDS, QUICK_ROUNDS = 10, 3  # returns of devices that were away
# Mostly messages; a hundredth of the requests cuts a device off, which comes back by itself.
MIX = Mix(send=0.94, edit=0.03, delete=0.02, resume=0.01)


@dataclass(kw_only=True)
class Baseline:
    """One run's parts."""

    environment: Environment
    options: Options
    fleet: Fleet
    visitors: Fleet
    flow: Flow
    pulse: Pulse
    resources: Resources
    probe: DatabaseProbe | None = None
    statements: ServerStatements | None = None
    before: metrics.Buckets = field(default_factory=dict)
    after: metrics.Buckets = field(default_factory=dict)
    generator: Generator = field(default_factory=Generator)
    returns: Returns = field(default_factory=Returns)
    skipped: int = 0


def crowd(options: Options) -> Crowd:
    """10 conversations of 5 users with 2 devices each, or as many devices as asked for."""
    return Crowd(conversations=max(1, (options.devices or 100) // 10), members=5, devices=2)


def phases(options: Options) -> list[Phase]:
    """The warm-up, then the preset, or a steady rate."""
    rate = options.rate or RATE
    warm_up = Phase(seconds=WARM_UP_S, rate=rate)
    if options.preset is not None:
        return [warm_up, *phases_of(options.preset, rate=rate)]
    seconds = options.duration_s or (QUICK_S if options.quick else DURATION_S)
    return [warm_up, Phase(seconds=seconds, rate=rate)]


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints."""
    return described(_plan(options), phases(options))


def _plan(options: Options) -> Plan:
    who = crowd(options)
    devices = who.conversations * who.members * who.devices
    return make(seed=options.seed, phases=phases(options), devices=devices, mix=MIX)


async def run(stage: Stage) -> Findings:
    """Measure everything."""
    say = stage.progress.say
    async with _prepared(stage) as it:
        with still():
            await _load(it, stage)
            await until(lambda: not it.flow.unread, within_s=RECEIPTS_S)
        say("cutting devices off and letting them catch up")
        it.flow.count_from = float("inf")
        rounds = QUICK_ROUNDS if stage.options.quick else ROUNDS
        await it.returns.measure(it.fleet, rounds=rounds)
        say("comparing every device with the database")
        findings = Findings(outcomes=[], latency=it.flow.delivery.summary())
        await compare(it.fleet, stage.environment, findings)
        await _conclude(it, findings)
        return findings


@asynccontextmanager
async def _prepared(stage: Stage) -> AsyncIterator[Baseline]:
    environment, recorder = stage.environment, stage.recorder
    flow = Flow(stage.series)
    fleet = Fleet(url=environment.url, recorder=recorder, observer=flow, reads=True)
    visitors = Fleet(url=environment.url, recorder=recorder, observer=Observer())
    stage.progress.say(f"connecting {len(environment.accounts)} devices")
    await fleet.connect(environment.accounts, starts=await starts_of(environment))
    groups: dict[str, probe.Group] = {
        "server": environment.server_processes,
        "generator": probe.generator,
    }
    it = Baseline(
        environment=environment,
        options=stage.options,
        fleet=fleet,
        visitors=visitors,
        flow=flow,
        pulse=Pulse(fleet.devices),
        resources=Resources(groups),
        generator=Generator(stage.series),
    )
    async with AsyncExitStack() as stack:
        if environment.database_url is not None:
            asking = await stack.enter_async_context(connected(environment.database_url))
            groups["postgres"] = await probe.database_group(asking)
            _ask_database(it, asking)
        yield it


def _ask_database(it: Baseline, connection: Connection) -> None:
    it.probe = DatabaseProbe(
        connection,
        conversations=conversations_of(it.environment.accounts),
        devices=[account.device for account in it.environment.accounts],
    )
    it.statements = ServerStatements(connection)


async def _load(it: Baseline, stage: Stage) -> None:
    """Carry out the plan, with everything that looks on beside it."""
    work = OpenLoop(it.fleet.devices, _plan(it.options), it.generator, stage.series)
    begun = clock()
    it.flow.count_from = begun + WARM_UP_S
    stage.progress.say(f"{len(work.plan)} requests in {work.plan.at[-1]:.0f} s")
    sending = asyncio.create_task(work.run(begun))
    await asyncio.sleep(WARM_UP_S)
    it.before = await metrics.statement_buckets(it.environment.url)
    if it.statements is not None:
        await it.statements.begin()
    async with it.generator.watched(), it.resources.measured():
        watching = [asyncio.create_task(it.pulse.run()), asyncio.create_task(_visit(it))]
        if it.probe is not None:
            watching.append(asyncio.create_task(it.probe.run()))
        try:
            await sending
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
    it.skipped = work.skipped
    it.after = await metrics.statement_buckets(it.environment.url)


async def _visit(it: Baseline) -> None:
    """Open one further session after another: connecting while others talk."""
    while True:
        for account in it.environment.accounts:
            visitor = await it.visitors.attempt(account, starts={})
            if visitor is not None:
                visitor.testify()
                visitor.leave()
            await asyncio.sleep(VISIT_S)


async def _conclude(it: Baseline, findings: Findings) -> None:
    """Hold everything against the targets."""
    it.pulse.settle(lambda asked: True)
    findings.outcomes = [*_latencies(it), *_rates(it, findings), *_resources(it)]
    findings.figures |= _figures(it)
    if it.statements is not None:
        findings.figures["database_statements"] = await it.statements.top()
    findings.resources = dict(it.resources.usage)
    note_troubles(it.fleet, findings, it.flow)
    note_generator(it.generator, findings)
    findings.broken.extend(it.returns.failures)
    if it.flow.unread:
        findings.broken.append(f"{it.flow.unread} read receipts never came back")
    findings.spectra = {"delivery": it.flow.delivery, "delivery, uncorrected": it.flow.uncorrected}
    findings.coverage = _coverage(it)


def _coverage(it: Baseline) -> list[Covered]:
    """What this workload is meant to bring about at least once."""
    returned = sum(device.sessions - 1 for device in it.fleet.devices)
    happened = {
        "a device resumed after its connection was lost": returned - it.returns.latency.count,
        "a device that was away caught up": it.returns.latency.count,
        "a message was edited": it.flow.stored["edit"],
        "a message was deleted": it.flow.stored["delete"],
        "a read receipt came back": it.flow.receipt.count,
    }
    return [
        Covered(name=name, kind="sometimes", checked=count, held=count)
        for name, count in happened.items()
    ]


def _latencies(it: Baseline) -> list[Outcome]:
    trusted = partial(outcome_of, it.generator)
    connects = Latency()
    connects.extend(it.fleet.connect_s + it.visitors.connect_s)
    flow = it.flow
    return [
        trusted("T1", connects.percentile(99), source=f"{connects.count} sessions, 100 of them ten at a time"),
        trusted("T2", flow.delivery.percentile(99), source=f"{flow.delivery.count} deliveries"),
        _database_time(it),
        trusted("T5", flow.receipt.percentile(99), source=f"{flow.receipt.count} messages"),
        trusted("T6.live", flow.live.percentile(99), source=f"{flow.live.count} deliveries"),
        trusted("T6.resume", it.returns.latency.summary().max, source=f"{it.returns.latency.count} reconnects, {MISSED} messages missed in each"),
    ]  # fmt: skip


def _database_time(it: Baseline) -> Outcome:
    """The worse of what the rig's own connection and what the server itself measured."""
    ours = it.probe.latency.percentile(99) if it.probe is not None else None
    theirs = metrics.percentile_ms(metrics.merged(metrics.since(it.before, it.after)), 99)
    named = {"a connection of the rig": ours, "the server's /metrics": theirs}
    known = {name: value for name, value in named.items() if value is not None}
    if not known:
        return outcome("T3", None, source="neither a database connection nor /metrics")
    worst = max(known, key=lambda name: known[name])
    sources = ", ".join(f"{name} {value:.2f} ms" for name, value in known.items())
    return outcome("T3", known[worst], source=f"the worse of: {sources}")


def _rates(it: Baseline, findings: Findings) -> list[Outcome]:
    judged = findings.judgement
    lost = judged.counts["lost"]
    compared = judged.expected + judged.promises
    arrived = 100 * (1 - lost / judged.expected) if judged.expected else None
    consistent = 100 * (1 - judged.anomalies / compared) if judged.exercised else None
    return [
        outcome("T7", connected_percent(it.fleet, it.visitors), source="sessions opened"),
        outcome("T8", arrived, source=f"{judged.expected} stored changes due to devices, by identity"),
        outcome("T9", it.pulse.uptime_percent, source=f"{it.pulse.asked} pings answered within 1 s"),
        outcome("T10", consistent, source="every promise and every device's log against plain SQL"),
    ]  # fmt: skip


def _resources(it: Baseline) -> list[Outcome]:
    memory = usage_of(it.resources, "server", "rss_mb")
    cpu = usage_of(it.resources, "server", "cpu_percent")
    return [
        outcome("T14", memory, source=f"resident memory of all server processes, {len(it.fleet.devices)} devices"),
        outcome("T16", cpu, source="all server processes together, during the load"),
    ]  # fmt: skip


def _figures(it: Baseline) -> dict[str, Any]:
    flow = it.flow
    found: dict[str, Any] = {
        "devices": len(it.fleet.devices),
        "messages": flow.answer.count,
        "delivery_p50_ms": flow.delivery.percentile(50),
        "delivery_uncorrected_p99_ms": flow.uncorrected.percentile(99),
        "answer_p50_ms": flow.answer.percentile(50),
        "answer_p99_ms": flow.answer.percentile(99),
        "read_receipt_p50_ms": flow.receipt.percentile(50),
        "catch_up_p50_ms": it.returns.latency.percentile(50),
        "skipped_requests": it.skipped,
        "generator": it.generator.figures(),
        "generator_cpu_percent": it.generator.cpu_percent,
        "other_processes_cpu_percent": it.resources.others_percent,
        "refusals": flow.refusals,
    }
    if it.probe is not None:
        found["probe_p99_ms"] = {
            name: latency.percentile(99) for name, latency in it.probe.by_statement.items()
        }
    served = metrics.since(it.before, it.after)
    found["server_statement_p99_ms"] = {
        name: metrics.percentile_ms(buckets, 99) for name, buckets in served.items()
    }
    return found


SCENARIO = Scenario(
    name="baseline",
    group="baseline",
    title="every target at normal load",
    crowd=crowd,
    run=run,
    plan=plan,
    judged=False,
)
