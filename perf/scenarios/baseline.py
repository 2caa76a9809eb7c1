"""`perf baseline`: every target at normal load, on one table.

100 devices (50 users with two each) in 10 conversations, 200 messages a second by a seeded plan.
Some are edits and deletions, some cut a device off. Beside the load it opens further sessions, pings,
and asks the database; afterwards devices that were away catch up, and the history is judged.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import msgspec

from perf.history.testimony import clock
from perf.load import probe
from perf.load.alongside import alongside
from perf.load.fleet import Fleet, until
from perf.load.flow import Flow
from perf.load.generator import Generator
from perf.load.observer import Observer
from perf.load.plan import Mix, Phase, Plan, described, make
from perf.load.presets import phases_of
from perf.load.probe import DatabaseProbe, Pulse, Resources, ServerStatements
from perf.load.workload import OpenLoop
from perf.measure import metrics
from perf.measure.processes import Group
from perf.rig.accounts import Account
from perf.rig.database import Connection, connected
from perf.rig.environment import Crowd, Environment
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios import baseline_table
from perf.scenarios.parts import costs
from perf.scenarios.parts.returns import Returns
from perf.scenarios.parts.shared import (
    agreement,
    connect,
    conversations_of,
    note_generator,
    note_troubles,
    settle,
    still,
)

RATE, DEVICES = 200.0, 100
DURATION_S, QUICK_S = 10.0, 2.0
WARM_UP_S = 1.0  # of the plan, not counted: statements are prepared, caches are filled
VISIT_S = 0.25  # how often a further session is opened during the load
RECEIPTS_S = 2.0  # how long after the load read receipts may still come
ROUNDS, QUICK_ROUNDS = 10, 3  # returns of devices that were away
# Mostly messages; a hundredth of the requests cuts a device off, which comes back by itself.
MIX = Mix(send=0.94, edit=0.03, delete=0.02, resume=0.01)
GOALS = frozenset(
    {"lost", "lost ack", "reordered", "lost receipt", "resume", "catch-up", "deletion seen"}
)


@dataclass(kw_only=True)
class Baseline:
    """One run's parts."""

    environment: Environment
    options: Options
    fleet: Fleet
    visitors: Fleet
    guests: Sequence[Account]
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
    """10 conversations of 5 users with 2 devices each, or as many devices as asked for, and one of visitors."""
    return Crowd(conversations=_conversations(options) + 1, members=5, devices=2)


def _conversations(options: Options) -> int:
    return max(1, (options.devices or DEVICES) // 10)


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
    return make(
        seed=options.seed,
        phases=phases(options),
        devices=10 * _conversations(options),
        mix=MIX,
    )


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
        findings = Findings(outcomes=[], latency=it.flow.delivery.summary())
        say("counting what a message costs")
        table = await costs.measure(stage.environment, it.fleet, quick=stage.options.quick)
        findings.figures["costs"] = msgspec.to_builtins(table)
        await settle(it.fleet, findings)
        it.visitors.disconnect()
        await _conclude(it, findings)
        return findings


@asynccontextmanager
async def _prepared(stage: Stage) -> AsyncIterator[Baseline]:
    environment, recorder = stage.environment, stage.recorder
    flow = Flow(stage.series)
    fleet = Fleet(url=environment.url, recorder=recorder, observer=flow, reads=True)
    visitors = Fleet(url=environment.url, recorder=recorder, observer=Observer())
    talkers, guests = _split(environment.accounts)
    await connect(stage, fleet, talkers)
    groups: dict[str, Group] = {
        "server": environment.server_processes,
        "generator": probe.generator,
    }
    it = Baseline(
        environment=environment,
        options=stage.options,
        fleet=fleet,
        visitors=visitors,
        guests=guests,
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


def _split(accounts: Sequence[Account]) -> tuple[list[Account], list[Account]]:
    """Who takes part in the load, and the members of the last conversation, who only visit."""
    last = conversations_of(accounts)[-1:]
    guests = [account for account in accounts if list(account.conversations) == last]
    talkers = [account for account in accounts if account not in guests]
    return (talkers, guests) if talkers else (guests, [])


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
        probing = [it.probe.run()] if it.probe is not None else []
        async with alongside(it.pulse.run(), _visit(it), *probing):
            await sending
    it.skipped = work.skipped
    it.after = await metrics.statement_buckets(it.environment.url)


async def _visit(it: Baseline) -> None:
    """Open one session after another beside the load: devices of a conversation in which nothing happens."""
    # All are known before the first visit: this is cancelled, perhaps in the middle of one.
    it.visitors.devices = [it.visitors.device(account, starts={}) for account in it.guests]
    for visitor in cycle(it.visitors.devices):
        await it.visitors.open(visitor)
        visitor.leave()
        await asyncio.sleep(VISIT_S)


async def _conclude(it: Baseline, findings: Findings) -> None:
    """Hold everything against the targets."""
    findings.outcomes = baseline_table.outcomes(it)
    findings.figures |= baseline_table.figures(it)
    if it.probe is not None and it.probe.failures:
        ended = "the rig's own connection to the database ended, so T3 is not known: "
        findings.unknown.append(ended + it.probe.failures[0])
    elif it.statements is not None:
        findings.figures["database_statements"] = await it.statements.top()
    findings.resources = dict(it.resources.usage)
    note_troubles(it.fleet, findings, it.flow)
    note_generator(it.generator, findings)
    findings.broken.extend(it.returns.failures)
    if it.flow.unread:
        findings.broken.append(f"{it.flow.unread} read receipts never came back")
    findings.spectra = {"delivery": it.flow.delivery, "delivery, uncorrected": it.flow.uncorrected}
    findings.coverage = baseline_table.coverage(it)
    findings.concluding = agreement


SCENARIO = Scenario(
    name="baseline",
    group="baseline",
    title="every target at normal load",
    crowd=crowd,
    run=run,
    plan=plan,
    goals=GOALS,
)
