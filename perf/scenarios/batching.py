"""`perf stress batching`: the more is under way, the more each transaction carries; one message alone does not wait.

The same fleet at rising numbers of unanswered sends, closed loop: what a commit, a frame and a message
cost at each. Beforehand single messages, 20 a second, show what batching adds to the way of one: nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from redis.asyncio import Redis

from perf.load.fleet import Fleet
from perf.load.generator import Generator
from perf.load.observer import Observer, Troubles
from perf.measure import counters, metrics
from perf.measure.quiet import Inside, inside
from perf.rig.children import RigError
from perf.rig.database import Connection, connected
from perf.rig.environment import Crowd
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.parts.capacity import Capacity, Watched, saturate, watched
from perf.scenarios.parts.shared import (
    agreement,
    connect,
    connected_percent,
    distrusted,
    note_generator,
    note_troubles,
    settle,
    still,
)
from perf.scenarios.parts.stairs import Stairs
from perf.targets import Outcome, outcome

DEVICES = 100
LEVEL_S, QUICK_LEVEL_S = 4.0, 0.6
WARM_UP_S, QUICK_WARM_UP_S = 1.0, 0.3
SINGLE_RATE, SINGLE_S, QUICK_SINGLE_S = 20.0, 8.0, 1.0
SINGLE_LIMIT_MS, SINGLE_GOAL_MS = 5.0, 3.0
STATEMENTS_LIMIT, STATEMENTS_GOAL = 0.5, 0.1  # per message, when everything is under way


class Level(NamedTuple):
    """So many devices send, each with so many sends unanswered."""

    senders: int
    outstanding: int


WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"
LEVELS = (Level(1, 1), Level(10, 1), Level(1, 10), Level(100, 1), Level(10, 10), Level(100, 10))
QUICK_LEVELS = (Level(1, 1), Level(100, 10))


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One level. `achieved` and `delivered` are messages a second, p50 and p99 of the answer in ms."""

    senders: int
    outstanding: int
    in_flight: int
    achieved: float
    delivered: float
    p50: float | None
    p99: float | None
    messages_per_commit: float | None
    messages_per_frame: float
    statements_per_message: float | None
    wal_bytes_per_message: float | None
    bus_commands_per_message: float | None
    blocks_per_message: float | None  # that Python has allocated and not freed, after a collection
    tasks_left: int | None  # more than before
    generator_cpu: float


@dataclass(frozen=True, kw_only=True)
class Books:
    """Where the costs are read."""

    url: str
    connection: Connection | None = None
    valkey: Redis | None = None

    async def read(self) -> counters.Reading:
        """Everything counted so far; empty without a database."""
        if self.connection is None:
            return counters.Reading()
        return await counters.read(self.connection, self.valkey)

    async def held(self) -> Inside | None:
        """What the server holds once it has tidied up; None if it does not say."""
        with suppress(RigError, OSError):
            return await inside(self.url)
        return None

    async def wal(self) -> float | None:
        """How many bytes of WAL were ever written; exact, while pg_stat_wal is a second behind."""
        if self.connection is None:
            return None
        row = await (await self.connection.execute(WAL)).fetchone()
        return float(row[0]) if row else None


def crowd(options: Options) -> Crowd:
    """10 conversations of 10 devices."""
    return Crowd(conversations=DEVICES // 10, members=10)


def levels(options: Options) -> tuple[Level, ...]:
    """What is tried, in this order."""
    return QUICK_LEVELS if options.quick else LEVELS


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints."""
    each = _warm_up_s(options) + _seconds(options)
    return {
        "single": {"rate": SINGLE_RATE, "seconds": _single_s(options)},
        "levels": [level._asdict() for level in levels(options)],
        "seconds": _single_s(options) + each * len(levels(options)),
    }


def _seconds(options: Options) -> float:
    return options.duration_s or (QUICK_LEVEL_S if options.quick else LEVEL_S)


def _warm_up_s(options: Options) -> float:
    return QUICK_WARM_UP_S if options.quick else WARM_UP_S


def _single_s(options: Options) -> float:
    return QUICK_SINGLE_S if options.quick else SINGLE_S


async def run(stage: Stage) -> Findings:
    """Send one by one, then level by level."""
    environment = stage.environment
    fleet = Fleet(url=environment.url, recorder=stage.recorder, observer=Observer())
    await connect(stage, fleet, environment.accounts)
    async with watched(environment) as beside, _books(stage) as books:
        stairs = Stairs(
            stage=stage,
            fleet=fleet,
            groups=beside.groups,
            step_s=_single_s(stage.options),
            warm_up_s=_warm_up_s(stage.options),
        )
        single = await stairs.climb(SINGLE_RATE)
        rows, troubles = await _levels(stage, fleet, beside, books)
    findings = Findings(
        outcomes=_outcomes(single.p50, rows, fleet), latency=stairs.flows[0].delivery.summary()
    )
    findings.steps = [msgspec.to_builtins(row) for row in rows]
    findings.figures["single_message_p50_ms"] = single.p50
    findings.figures["single_message_p99_ms"] = single.p99
    _distrust(findings, stairs.generators[0])
    findings.spectra = {"a single message": stairs.flows[0].delivery}
    await settle(fleet, findings)
    findings.concluding = agreement
    note_troubles(fleet, findings, *troubles, *stairs.flows)
    return findings


def _distrust(findings: Findings, generator: Generator) -> None:
    """A single message that took too long says nothing if the generator itself was late."""
    single = findings.outcomes[0]
    if single.passed is False and generator.trouble is not None:
        findings.outcomes[0] = distrusted(single, generator)
    note_generator(generator, findings)


@asynccontextmanager
async def _books(stage: Stage) -> AsyncIterator[Books]:
    place = stage.environment
    async with AsyncExitStack() as stack:
        connection = valkey = None
        if place.database_url is not None:
            connection = await stack.enter_async_context(connected(place.database_url))
        if place.redis_url is not None:
            valkey = await stack.enter_async_context(Redis.from_url(place.redis_url))
        yield Books(url=place.url, connection=connection, valkey=valkey)


async def _levels(
    stage: Stage, fleet: Fleet, beside: Watched, books: Books
) -> tuple[list[Row], list[Troubles]]:
    rows: list[Row] = []
    troubles: list[Troubles] = []
    for level in levels(stage.options):
        stage.series.mark(f"{level.senders} senders, {level.outstanding} unanswered each")
        before, wal = await books.read(), await books.wal()
        batches, held = (await metrics.counters(books.url)).get("batches"), await books.held()
        with still():
            found = await saturate(
                stage,
                fleet,
                beside.groups,
                senders=level.senders,
                outstanding=level.outstanding,
                seconds=_seconds(stage.options),
                warm_up_s=_warm_up_s(stage.options),
            )
        await fleet.quiesce(within_s=30)
        spent = (await books.read()).since(before)
        written = _risen(wal, await books.wal())
        commits = _risen(batches, (await metrics.counters(books.url)).get("batches"))
        kept = _kept(held, await books.held(), messages=found.load.stored)
        rows.append(_row(level, found, spent, commits=commits, wal=written, kept=kept))
        troubles.append(found.load)
        stage.progress.say(_told(rows[-1]))
    return rows, troubles


def _risen(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _kept(
    before: Inside | None, after: Inside | None, *, messages: int
) -> tuple[float | None, int | None]:
    """Blocks that a message leaves in the server, and tasks that were not there before."""
    if before is None or after is None:
        return None, None
    blocks = (after.blocks - before.blocks) / max(messages, 1)
    return round(blocks, 3), after.tasks - before.tasks


def _row(
    level: Level,
    found: Capacity,
    spent: counters.Reading,
    *,
    commits: float | None,
    wal: float | None,
    kept: tuple[float | None, int | None],
) -> Row:
    """The costs are of the whole level with its warm-up, and so are the messages that they are shared among."""
    answers, sends = found.answers, max(found.load.stored, 1)
    costs = {one.what: one.each for one in counters.table(spent, messages=sends, deliveries=0)}
    return Row(
        senders=level.senders,
        outstanding=level.outstanding,
        in_flight=level.senders * level.outstanding,
        achieved=round(found.messages_per_s, 1),
        delivered=round(found.deliveries_per_s, 1),
        p50=answers.percentile(50),
        p99=answers.percentile(99),
        messages_per_commit=round(sends / commits, 2) if commits else None,
        messages_per_frame=round(found.load.deliveries / max(found.load.frames, 1), 2),
        statements_per_message=costs.get("SQL statements") if spent.statements else None,
        wal_bytes_per_message=None if wal is None else round(wal / sends),
        bus_commands_per_message=costs.get("Valkey commands") if spent.commands else None,
        blocks_per_message=kept[0],
        tasks_left=kept[1],
        generator_cpu=found.generator.cpu_percent,
    )


def _told(row: Row) -> str:
    return (
        f"{row.in_flight:>5,} in flight: {row.achieved:,.0f} messages/s, "
        f"{row.messages_per_commit or 0:.1f} to a commit, p50 {row.p50 or 0:.1f} ms"
    )


def _outcomes(single_ms: float | None, rows: list[Row], fleet: Fleet) -> list[Outcome]:
    most = rows[-1]
    return [
        _below("a single message, send to the other device (p50)", single_ms, unit="ms", limit=SINGLE_LIMIT_MS, goal=SINGLE_GOAL_MS, source=f"{SINGLE_RATE:.0f} a second"),
        _below(f"SQL statements per message, {most.in_flight:,} in flight", most.statements_per_message, unit="1", limit=STATEMENTS_LIMIT, goal=STATEMENTS_GOAL, source="pg_stat_statements"),
        outcome("T7", connected_percent(fleet), source="sessions opened"),
    ]  # fmt: skip


def _below(
    name: str, measured: float | None, *, unit: str, limit: float, goal: float, source: str
) -> Outcome:
    return Outcome(
        name=name,
        unit=unit,
        limit=limit,
        goal=goal,
        measured=measured,
        passed=None if measured is None else measured < limit,
        reached=None if measured is None else measured < goal,
        source=source,
    )


SCENARIO = Scenario(
    name="batching",
    group="stress",
    title="what a message costs, alone and among a thousand",
    crowd=crowd,
    run=run,
    plan=plan,
    full=False,
    settings="perf.rig.inspection.settings",
)
