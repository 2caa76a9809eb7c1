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
from typing import Any

from perf import metrics, probe
from perf.database import Connection, connected
from perf.device import Device
from perf.environment import Crowd, Environment
from perf.fleet import Fleet, until
from perf.flow import Flow
from perf.history.testimony import clock
from perf.latency import Latency
from perf.observer import Observer
from perf.probe import DatabaseProbe, Pulse, Resources, ServerStatements
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.shared import (
    compare,
    connected_percent,
    conversations_of,
    note_troubles,
    starts_of,
    still,
    usage_of,
)
from perf.targets import Outcome, outcome
from perf.workload import body, open_loop, plan

RATE = 200.0
DURATION_S, QUICK_S = 10.0, 3.0
WARM_UP_S = 1.0  # of the plan, not counted: statements are prepared, caches are filled
VISIT_S = 0.25  # how often a further session is opened during the load
RECEIPTS_S = 2.0  # how long after the load read receipts may still come
CATCH_UP_S = 10.0  # ten times the limit: a failure then, and no figure
ROUNDS, QUICK_ROUNDS, MISSED = 10, 3, 50  # catch-ups after a reconnect, and messages missed in each


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
    catch_up: Latency = field(default_factory=Latency)

    @property
    def duration_s(self) -> float:
        """Seconds of counted load."""
        return self.options.duration_s or (QUICK_S if self.options.quick else DURATION_S)


def crowd(options: Options) -> Crowd:
    """10 conversations of 5 users with 2 devices each, or as many devices as asked for."""
    return Crowd(conversations=max(1, (options.devices or 100) // 10), members=5, devices=2)


async def run(stage: Stage) -> Findings:
    """Measure everything."""
    options, say = stage.options, stage.progress.say
    async with _prepared(stage) as it:
        say(f"{it.duration_s:.0f} s at {options.rate or RATE:.0f} messages a second")
        with still():
            await _load(it)
            await until(lambda: not it.flow.unread, within_s=RECEIPTS_S)
        say("cutting devices off and letting them catch up")
        await _catch_ups(it)
        say("comparing every device with the database")
        findings = Findings(outcomes=[], latency=it.flow.delivery.summary())
        await compare(it.fleet, stage.environment, findings)
        await _conclude(it, findings)
        return findings


@asynccontextmanager
async def _prepared(stage: Stage) -> AsyncIterator[Baseline]:
    environment, recorder, flow = stage.environment, stage.recorder, Flow()
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


async def _load(it: Baseline) -> None:
    """Run the plan, with everything that looks on beside it."""
    arrivals = plan(
        seed=it.options.seed,
        rate=it.options.rate or RATE,
        duration_s=WARM_UP_S + it.duration_s,
        devices=len(it.fleet.devices),
    )
    begun = clock()
    it.flow.count_from = begun + WARM_UP_S
    sending = asyncio.create_task(open_loop(it.fleet.devices, arrivals, begun=begun))
    await asyncio.sleep(WARM_UP_S)
    it.before = await metrics.statement_buckets(it.environment.url)
    if it.statements is not None:
        await it.statements.begin()
    async with it.resources.measured():
        watching = [asyncio.create_task(it.pulse.run()), asyncio.create_task(_visit(it))]
        if it.probe is not None:
            watching.append(asyncio.create_task(it.probe.run()))
        try:
            await sending
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
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


async def _catch_ups(it: Baseline) -> None:
    """Cut second devices off, let their users' other devices send, and time the way back to level."""
    it.flow.count_from = float("inf")
    rounds = QUICK_ROUNDS if it.options.quick else ROUNDS
    for sender, away in _pairs(it.fleet.devices)[:rounds]:
        away.leave()
        goal = await _send_meanwhile(it, sender)
        begun = clock()
        if goal is not None and await it.fleet.open(away):
            async with asyncio.timeout(CATCH_UP_S):
                reached = await away.reach(sender.account.conversations[0], goal)
            it.catch_up.record(reached - begun)


async def _send_meanwhile(it: Baseline, sender: Device) -> int | None:
    """Send what the other device will have missed; return its last change, None if it was not stored."""
    for _ in range(MISSED):
        sender.send(sender.account.conversations[0], body(100))
    sender.flush()
    if not await until(lambda: not sender.pending, within_s=CATCH_UP_S):
        return None
    return max(promise.seq for promise in it.fleet.history.promises[-MISSED:])


def _pairs(devices: list[Device]) -> list[tuple[Device, Device]]:
    """Two devices of one user, for every user that has them."""
    first: dict[str, Device] = {}
    pairs = []
    for device in devices:
        other = first.setdefault(device.account.user, device)
        if other is not device:
            pairs.append((other, device))
    return pairs


async def _conclude(it: Baseline, findings: Findings) -> None:
    """Hold everything against the targets."""
    it.pulse.settle(lambda asked: True)
    findings.outcomes = [*_latencies(it), *_rates(it, findings), *_resources(it)]
    findings.figures |= _figures(it)
    if it.statements is not None:
        findings.figures["database_statements"] = await it.statements.top()
    findings.resources = dict(it.resources.usage)
    note_troubles(it.fleet, it.flow, findings)
    if it.flow.unread:
        findings.broken.append(f"{it.flow.unread} read receipts never came back")


def _latencies(it: Baseline) -> list[Outcome]:
    connects = Latency()
    connects.extend(it.fleet.connect_s + it.visitors.connect_s)
    flow = it.flow
    return [
        outcome("T1", connects.percentile(99), source=f"{connects.count} sessions, 100 of them ten at a time"),
        outcome("T2", flow.delivery.percentile(99), source=f"{flow.delivery.count} deliveries"),
        _database_time(it),
        outcome("T5", flow.receipt.percentile(99), source=f"{flow.receipt.count} messages"),
        outcome("T6.live", flow.live.percentile(99), source=f"{flow.live.count} deliveries"),
        outcome("T6.resume", it.catch_up.summary().max, source=f"{it.catch_up.count} reconnects, {MISSED} messages missed in each"),
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
        "catch_up_p50_ms": it.catch_up.percentile(50),
        "generator_cpu_percent": usage_of(it.resources, "generator", "cpu_percent"),
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
    judged=False,
)
