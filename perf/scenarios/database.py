"""`perf stress database`: readers and writers at once, and a long transaction in one conversation.

The same steady load of messages three times: alone; beside people who page back, more of them than the
server's pool has connections, and devices that come and go; and while a foreign transaction holds
one conversation's row, which must not stop the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import msgspec

from perf.coverage import Covered
from perf.history.testimony import clock
from perf.load.alongside import alongside
from perf.load.fleet import Fleet
from perf.load.flow import Flow
from perf.load.generator import Generator
from perf.load.observer import Observer, Troubles
from perf.load.plan import Phase, make
from perf.load.probe import DatabaseProbe, Pulse, Resources
from perf.load.rest import Rest
from perf.load.workload import OpenLoop
from perf.rig.accounts import Account
from perf.rig.children import RigError
from perf.rig.database import Connection, connected
from perf.rig.environment import Crowd
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.parts.backlog import Filling
from perf.scenarios.parts.books import REPORTED_S, Books, Row, read
from perf.scenarios.parts.capacity import Watched, watched
from perf.scenarios.parts.company import Beside, Holder, Onlooker, Readers, Returners, going_on
from perf.scenarios.parts.shared import (
    agreement,
    connected_percent,
    conversations_of,
    note_generator,
    note_troubles,
    outcome_of,
    settle,
    starts_of,
    still,
    usage_of,
)
from perf.targets import Outcome, outcome

MEMBERS, WRITING, RETURNING = 6, 2, 2  # of each conversation; the others read over REST
DEVICES, QUICK_DEVICES = 120, 36
RATE, HELD_RATE = 200.0, 10.0  # messages/s to all conversations, to the one that will be held
PHASE_S, QUICK_PHASE_S, WARM_UP_S = 8.0, 1.2, 0.5
FILLED, QUICK_FILLED = 200, 40  # messages of each writer before: something to page back through
READERS = 24  # pages asked for at a time: three times the server's pool
FELT_MS = 200.0  # a message that took so long has felt the lock
DRAIN_S = 30.0  # T11's limit


@dataclass(kw_only=True)
class Bench:
    """One run's parts. `held` are the writers of the first conversation, `writers` all others."""

    stage: Stage
    beside: Watched
    asking: Connection
    looking: Connection
    writers: Fleet
    held: Fleet
    returners: Returners
    readers: Readers
    holder: Holder
    pulse: Pulse
    rows: list[Row] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    held_flows: list[Flow] = field(default_factory=list)
    generators: list[Generator] = field(default_factory=list)
    backends: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    async def books(self) -> Books:
        """What is counted so far. Raises psycopg.Error."""
        reported_s = 0.0 if self.stage.options.quick else REPORTED_S
        return await read(self.looking, self.stage.environment.url, reported_s=reported_s)


def crowd(options: Options) -> Crowd:
    """Conversations of six: two write, two come and go, two page back."""
    devices = options.devices or (QUICK_DEVICES if options.quick else DEVICES)
    return Crowd(conversations=max(2, devices // MEMBERS), members=MEMBERS)


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints."""
    return {
        "phases": ["writers alone", "with readers", "one conversation held"],
        "seconds_each": _seconds(options),
        "messages_per_s": options.rate or RATE,
        "readers": READERS,
        "before": f"{_filled(options)} messages of each writer",
        "seconds": round(3 * (_seconds(options) + 2) + 15),
    }


def _seconds(options: Options) -> float:
    return options.duration_s or (QUICK_PHASE_S if options.quick else PHASE_S)


def _held_s(options: Options) -> float:
    """How long the lock lasts: beyond the warm-up, or nobody who counts would feel it."""
    return WARM_UP_S + (_seconds(options) - WARM_UP_S) / 2


def _filled(options: Options) -> int:
    return QUICK_FILLED if options.quick else FILLED


async def run(stage: Stage) -> Findings:
    """Fill, then measure phase by phase. Raises RigError without a database."""
    url = stage.environment.database_url
    if url is None:
        raise RigError("`stress database` asks the database itself: give --database URL")
    async with AsyncExitStack() as stack:
        beside = await stack.enter_async_context(watched(stage.environment))
        asking = await stack.enter_async_context(connected(url))
        looking = await stack.enter_async_context(connected(url))
        it = await _prepared(stage, beside, asking=asking, looking=looking, url=url)
        stack.push_async_callback(it.readers.rest.close)
        filling = await _fill(it)
        await _phases(it)
        findings = _findings(it)
        if beside.statements is not None:
            findings.figures["database_statements"] = await beside.statements.top(8)
        for fleet in (it.writers, it.held, it.returners.fleet):
            await settle(fleet, findings)
    findings.concluding = agreement
    note_troubles(it.writers, findings, filling, *it.flows)
    note_troubles(it.held, findings, *it.held_flows)
    note_troubles(it.returners.fleet, findings)
    return findings


async def _prepared(
    stage: Stage, beside: Watched, *, asking: Connection, looking: Connection, url: str
) -> Bench:
    place = stage.environment
    writing, held, returning, reading = split(place.accounts)
    fleets = [Fleet(url=place.url, recorder=stage.recorder, observer=Observer()) for _ in range(3)]
    starts = await starts_of(place)
    stage.progress.say(f"connecting {len(writing) + len(held) + len(returning)} devices")
    for fleet, accounts in zip(fleets, (writing, held, returning), strict=True):
        await fleet.connect(accounts, starts=starts)
    conversation = held[0].conversations[0]
    return Bench(
        stage=stage,
        beside=beside,
        asking=asking,
        looking=looking,
        writers=fleets[0],
        held=fleets[1],
        returners=Returners(fleet=fleets[2]),
        readers=Readers(rest=Rest(place.url), accounts=reading, at_once=READERS),
        holder=Holder(url=url, conversation=conversation, seconds=_held_s(stage.options)),
        pulse=Pulse(fleets[0].devices),
    )


def split(accounts: Sequence[Account]) -> tuple[list[Account], ...]:
    """Who writes, who writes to the first conversation, who comes and goes, and who reads over REST."""
    first, seen = conversations_of(accounts)[0], dict[str, int]()
    writing: list[Account] = []
    held: list[Account] = []
    returning: list[Account] = []
    reading: list[Account] = []
    for account in accounts:
        conversation = account.conversations[0]
        place = seen[conversation] = seen.get(conversation, 0) + 1
        if place <= WRITING:
            (held if conversation == first else writing).append(account)
        else:
            (returning if place <= WRITING + RETURNING else reading).append(account)
    return writing, held, returning, reading


async def _fill(it: Bench) -> Troubles:
    """Store something to page back through."""
    filling = Filling(it.stage.series, each=_filled(it.stage.options), outstanding=10)
    it.writers.observe(filling)
    await filling.run(it.writers.devices, within_s=DRAIN_S)
    await it.writers.quiesce(within_s=DRAIN_S)
    return filling


async def _phases(it: Bench) -> None:
    """The same load three times."""
    async with alongside(it.pulse.run()):
        with still():
            await _phase(it, "writers alone", [])
            await _phase(it, "with readers", [it.readers.run, it.returners.run])
            await _phase(it, "one conversation held", [it.holder.run])
    it.pulse.settle(lambda asked: False)


async def _phase(it: Bench, name: str, beside: Sequence[Beside]) -> None:
    """Send at the steady rate beside whatever else goes on, and write down what it was like."""
    stage = it.stage
    flow, held, generator = Flow(stage.series), Flow(stage.series), Generator(stage.series)
    it.writers.observe(flow)
    it.held.observe(held)
    it.flows.append(flow)
    it.held_flows.append(held)
    it.generators.append(generator)
    stage.series.mark(name)
    probe, onlooker = _probe(it), Onlooker(connection=it.looking)
    resources, books = Resources(it.beside.groups), await it.books()
    async with generator.watched(), resources.measured(), going_on([*beside, onlooker.run]):
        begun = clock()
        flow.count_from = held.count_from = begun + WARM_UP_S
        async with alongside(probe.run()):
            await asyncio.gather(
                _load(it, it.writers, stage.options.rate or RATE, generator).run(begun),
                _load(it, it.held, HELD_RATE, generator).run(begun),
            )
        took = clock() - begun
    for fleet in (it.writers, it.held):
        await fleet.quiesce(within_s=DRAIN_S)
    it.errors += probe.failures
    stored = flow.stored["send"] + held.stored["send"]
    row = _row(
        name,
        (flow, held, generator),
        (probe, onlooker, resources),
        rate=stored / took,
        spent=(await it.books()).since(books, messages=stored),
    )
    it.rows.append(row)
    _say(it)
    for who, count in onlooker.backends.items():
        it.backends[who] = max(count, it.backends.get(who, 0))


def _row(
    name: str,
    load: tuple[Flow, Flow, Generator],
    beside: tuple[DatabaseProbe, Onlooker, Resources],
    *,
    rate: float,
    spent: Mapping[str, float | None],
) -> Row:
    flow, held, generator = load
    probe, onlooker, resources = beside
    return Row(
        phase=name,
        achieved=round(rate, 1),
        p50=flow.delivery.percentile(50),
        p99=flow.delivery.percentile(99),
        held_p99=held.delivery.percentile(99),
        own_connection_p99=probe.latency.percentile(99),
        connections=onlooker.most,
        lock_waits=onlooker.lock_waits,
        server_cpu=usage_of(resources, "server", "cpu_percent"),
        postgres_cpu=usage_of(resources, "postgres", "cpu_percent"),
        late_p99=generator.lateness.percentile(99),
        server_statements_p99=spent["server_statements_p99"],
        commits_per_message=spent["commits_per_message"],
        batches_per_message=spent["batches_per_message"],
        wal_bytes_per_message=spent["wal_bytes_per_message"],
    )


def _probe(it: Bench) -> DatabaseProbe:
    """A connection of the rig's own that asks beside the load, of conversations that nobody holds."""
    names = conversations_of(it.stage.environment.accounts)
    return DatabaseProbe(
        it.asking,
        conversations=[name for name in names if name != it.holder.conversation],
        devices=[account.device for account in it.readers.accounts],
    )


def _load(it: Bench, fleet: Fleet, rate: float, generator: Generator) -> OpenLoop:
    plan = make(
        seed=it.stage.options.seed + len(it.generators),
        phases=[Phase(seconds=_seconds(it.stage.options), rate=rate)],
        devices=len(fleet.devices),
    )
    return OpenLoop(fleet.devices, plan, generator, it.stage.series)


def _say(it: Bench) -> None:
    row = it.rows[-1]
    it.stage.progress.say(
        f"{row.phase}: delivery p50 {row.p50 or 0:.1f}, p99 {row.p99 or 0:.1f} ms, "
        f"server's statements p99 {row.server_statements_p99 or 0:.1f} ms"
    )


def _findings(it: Bench) -> Findings:
    found = Findings(outcomes=_outcomes(it), latency=it.flows[0].delivery.summary())
    found.steps = [msgspec.to_builtins(row) for row in it.rows]
    found.figures |= {
        "others_p99_ms_while_one_is_held": it.rows[-1].p99,
        "held_conversation_p99_ms": it.rows[-1].held_p99,
        "held_s": round(it.holder.held_s, 2),
        "refusals_while_held": it.held_flows[-1].refusals,
        "pages": it.readers.latency.count,
        "page_p50_ms": it.readers.latency.percentile(50),
        "page_p99_ms": it.readers.latency.percentile(99),
        "pages_refused": it.readers.refused,
        "returns": it.returners.returns,
        "connections_by_owner": it.backends,
    }
    found.coverage = _coverage(it)
    found.broken += it.errors
    found.spectra = {
        f"delivery, {row.phase}": flow.delivery for row, flow in zip(it.rows, it.flows, strict=True)
    } | {"a page over REST": it.readers.latency}
    note_generator(_latest(it), found)
    return found


def _latest(it: Bench) -> Generator:
    return max(it.generators, key=lambda one: one.lateness.percentile(99) or 0)


def _outcomes(it: Bench) -> list[Outcome]:
    alone, reading, held = it.rows
    return [
        outcome_of(it.generators[0], "T3", _worse(alone), source=_sources(alone)),
        outcome_of(it.generators[1], "T4", _worse(reading), source=_sources(reading)),
        outcome_of(it.generators[2], "T2", held.p99, source="the others, while one conversation was held"),
        outcome("T7", connected_percent(it.writers, it.held, it.returners.fleet), source=f"sessions opened, {it.returners.returns} returns among them"),
        outcome("T9", it.pulse.uptime_percent, source=f"{it.pulse.asked} pings answered within 1 s"),
    ]  # fmt: skip


def _worse(row: Row) -> float | None:
    known = [one for one in (row.server_statements_p99, row.own_connection_p99) if one is not None]
    return max(known) if known else None


def _sources(row: Row) -> str:
    return (
        f"{row.phase}, the worse of: the server's /metrics {row.server_statements_p99 or 0:.2f}, "
        f"a connection of the rig {row.own_connection_p99 or 0:.2f} ms"
    )


def _coverage(it: Bench) -> list[Covered]:
    held, readers = it.held_flows[-1].delivery, it.readers
    slowest = held.summary().max or 0.0
    asked = readers.latency.count + len(readers.errors)
    return [
        Covered(
            name="the lock was felt by the conversation that was held",
            kind="sometimes",
            checked=1,
            held=int(slowest >= FELT_MS or bool(it.held_flows[-1].refusals)),
            witness=f"a message took {slowest:,.0f} ms, held for {it.holder.held_s:.1f} s",
        ),
        Covered(
            name="more readers than connections are served or refused, typed",
            kind="always",
            checked=asked,
            held=asked - len(readers.errors),
            witness=readers.errors[0] if readers.errors else f"{readers.refused} refused",
        ),
    ]


SCENARIO = Scenario(
    name="database",
    group="stress",
    title="readers and writers at once, and a long transaction",
    crowd=crowd,
    run=run,
    plan=plan,
    goals=frozenset({"lost", "lost ack", "reordered", "resume", "catch-up"}),
)
