"""`perf soak --hours H`: the same working day again and again; nothing may leak, drift or be down.

Each day has new people, a second server and a history of its own; in the night everything is closed, the first
server is looked into (T17), the day is judged, compared with the database, and erased. Ctrl-C ends it with
the report of all whole days. `parts.shifts` is a day, `parts.ledger` what is remembered of all.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil
import psycopg
from redis.asyncio import Redis

from perf.history.testimony import clock
from perf.load.fleet import FleetError
from perf.measure import quiet, statistics
from perf.measure.drift import drift
from perf.measure.quiet import Watch
from perf.measure.statistics import CYCLES, SETTLING
from perf.rig.database import Connection, connected
from perf.rig.environment import Crowd, RigError
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.parts import days, shifts
from perf.scenarios.parts.days import Day, Team
from perf.scenarios.parts.ledger import Ledger
from perf.scenarios.parts.shared import agreement
from perf.targets import Outcome, outcome

HOURS, QUICK_DAYS = 48.0, 2
DAY_S, QUICK_DAY_S = 36.0, 4.0
NIGHT_S = 18.0  # what a day takes beside its work: people and servers made, judged, erased
PER_S = 20.0  # requests of the team
FILES_EVERY = 10  # days after which the files of erased people are removed
LINES = 7_200  # of the series: two hours of seconds, or a line every 24 s in two days
LINE_KB = 2
HISTORY_MB = 60  # of a day, at most; measured: 26
MARKS = 40  # days that are named in the plots
HUNG_S = 600.0  # a day that has not ended by then does not end
FAILURES = 3  # days in a row that could not be lived: then it is over
COULD_NOT = (RigError, FleetError, psycopg.Error, OSError, ExceptionGroup)
SIZE = "SELECT pg_database_size(current_database())"


def seconds_of(options: Options) -> float:
    """How long it is meant to go on."""
    if options.quick:
        return QUICK_DAYS * (QUICK_DAY_S + NIGHT_S)
    return options.duration_s or 3600 * HOURS


def team_of(options: Options) -> Team:
    """Fifty people with three devices each, or a dozen with two."""
    if options.quick:
        return Team(people=12, devices=2, rooms=6, requests=120, files=1, joins=2, leaves=2, deploys=(13.0,), seconds=QUICK_DAY_S)  # fmt: skip
    requests = round((options.rate or PER_S) * DAY_S)
    return Team(people=50, devices=3, rooms=24, requests=requests, files=8, joins=8, leaves=8, deploys=(13.0,), seconds=DAY_S)  # fmt: skip


def crowd(options: Options) -> Crowd:
    """Nobody: each day makes its own people."""
    return Crowd(conversations=0, members=0)


def every_s(options: Options) -> float:
    """The series has no more lines for two days than for two hours."""
    return max(1.0, seconds_of(options) / LINES)


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints; what it takes on disk does not grow with the hours."""
    team = team_of(options)
    expected = seconds_of(options) / (team.seconds + NIGHT_S)
    return {
        "hours": round(seconds_of(options) / 3600, 2),
        "days": round(expected),
        "each": {"people": team.people, "devices": team.people * team.devices, "seconds": team.seconds, "happens": days.make(team, seed=options.seed).counts()},
        "cycles_for_a_verdict": CYCLES + SETTLING,
        "disk_mb_at_most": {"history": HISTORY_MB * (shifts.KEPT + 1), "series": round(LINES * LINE_KB / 1000), "database_and_its_log": 1_500},
        "seconds": round(seconds_of(options) + team.seconds + NIGHT_S),
    }  # fmt: skip


@dataclass(kw_only=True)
class Soak:
    """One run's parts."""

    stage: Stage
    team: Team
    day: Day
    watch: Watch
    connection: Connection
    ledger: Ledger = field(default_factory=Ledger)
    interrupted: bool = False
    mornings: int = 0
    begun: float = field(default_factory=clock)

    async def live(self) -> None:
        """Day after day, until the time is over; a day that can't be lived is told, and the next one begins."""
        in_a_row = 0
        while self.wanted and in_a_row < FAILURES:
            self.mornings += 1
            shifts.prune(self.stage.directory)
            try:
                async with asyncio.timeout(HUNG_S):
                    await self._turn(self.mornings)
                in_a_row = 0
            except COULD_NOT as error:
                in_a_row += 1
                self.ledger.fail(self.mornings, error)
                self.stage.progress.say(self.ledger.problems[-1])

    @property
    def wanted(self) -> bool:
        """Whether another day is to be lived."""
        if self.stage.options.quick:
            return self.mornings < QUICK_DAYS
        return self.passed_s < seconds_of(self.stage.options)

    @property
    def passed_s(self) -> float:
        """Since the first morning."""
        return clock() - self.begun

    async def _turn(self, number: int) -> None:
        """A day and its night."""
        stage, begun = self.stage, clock()
        if number % max(round(seconds_of(stage.options) / (DAY_S + NIGHT_S) / MARKS), 1) == 0:
            stage.series.mark(f"day {number}")
        shift = await shifts.work(stage, self.team, self.day, number, self.connection)
        sample = await self.watch.sample(like=self.ledger.like)
        await shifts.examine(shift, self.connection)
        await shifts.clear(shift, self.connection)
        if number % FILES_EVERY == 0:
            await shifts.clean_files(stage.environment)
        self.ledger.add(
            shift,
            sample,
            database_mb=round(await self._size() / 2**20, 1),
            rig_mb=round(psutil.Process(os.getpid()).memory_info().rss / 2**20, 1),
            took_s=round(clock() - begun, 1),
        )
        state = "WRONG" if self.ledger.rows[-1]["wrong"] else "well"
        stage.progress.say(f"day {number}: {state}, {shift.judgement.deliveries:,} deliveries, USS {sample.uss / 2**20:.1f} MB, {clock() - begun:.0f} s")  # fmt: skip

    async def _size(self) -> int:
        row = await (await self.connection.execute(SIZE)).fetchone()
        return int(row[0]) if row else 0


async def run(stage: Stage) -> Findings:
    """Live through the days; whoever interrupts gets the report of those that were whole."""
    async with _prepared(stage) as it:
        try:
            await it.live()
        except asyncio.CancelledError:
            it.interrupted = True
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            stage.progress.say(f"interrupted: the report of {it.ledger.days} days follows")
        return findings(it.ledger, stage.options, interrupted=it.interrupted, passed_s=it.passed_s)


@asynccontextmanager
async def _prepared(stage: Stage) -> AsyncIterator[Soak]:
    place = stage.environment
    if place.database_url is None or place.redis_url is None or not place.servers:
        raise RigError("soak needs an environment of its own: leave out --url")
    team = team_of(stage.options)
    async with AsyncExitStack() as stack:
        (server,) = place.servers
        connection = await stack.enter_async_context(connected(place.database_url))
        valkey = await stack.enter_async_context(Redis.from_url(place.redis_url))
        yield Soak(
            stage=stage,
            team=team,
            day=days.make(team, seed=stage.options.seed),
            watch=Watch(server=server, connection=connection, valkey=valkey),
            connection=connection,
        )


def findings(ledger: Ledger, options: Options, *, interrupted: bool, passed_s: float) -> Findings:
    """What all days come to. Pure."""
    found = statistics.judge(quiet.signals(ledger.samples), ledger.work)
    leaks = [slope.signal for slope in found.slopes if slope.grows] if found.verdict in statistics.LEAKS else []  # fmt: skip
    result = Findings(
        outcomes=[*_service(ledger), *agreement(ledger.judgement), ledger.compared.outcome()],
        judgement=ledger.judgement,
        coverage=ledger.judgement.coverage,
        latency=ledger.live.summary(),
        spectra={"delivery": ledger.live},
        steps=ledger.table(),
        broken=list(ledger.problems),
    )
    if not options.quick:
        known = None if found.verdict == "too-short" else len(leaks)
        result.outcomes.append(outcome("T17", known, source=f"{found.verdict}: {found.reason}"))
        result.outcomes.append(_drift(ledger))
    if interrupted:
        result.unknown.append(f"interrupted after {passed_s / 3600:.2f} of {seconds_of(options) / 3600:.2f} hours; what the last day saw is not judged")  # fmt: skip
    if not ledger.days:
        result.unknown.append("no day was over")
    result.figures = {
        "days": ledger.days,
        "bad_days": ledger.bad_days,
        "hours": round(passed_s / 3600, 2),
        "deploys": ledger.deploys,
        "verdict": found.verdict,
        "reason": found.reason,
        "slopes": [f"{slope.signal}: {slope.text(ledger.work)}" for slope in found.slopes],
        "types_that_grew": _growers(ledger),
        "drift_of_p99": text.text if (text := drift(ledger.p99_ms)) is not None else None,
    }
    return result


def _service(ledger: Ledger) -> list[Outcome]:
    """How they were served."""
    tried = ledger.opened + ledger.failures
    return [
        outcome("T7", 100 * ledger.opened / tried if tried else None, source=f"{tried:,} sessions, also while servers were replaced"),
        _uptime(ledger),
        outcome("T11", ledger.back_s, source=f"the slowest of {ledger.deploys} deploys, until all were back"),
    ]  # fmt: skip


def _uptime(ledger: Ledger) -> Outcome:
    """What share the door answered; a miss that the generator's own lateness may explain is not held against the server."""
    missed = ledger.asked - ledger.answered
    source = f"{ledger.asked:,} requests at the door, {missed} not answered within a second"
    found = outcome("T9.soak", _share(ledger.asked, missed), source=source)
    if found.passed is False and outcome("T9.soak", _share(ledger.asked, missed - ledger.doubted), source="").passed:  # fmt: skip
        why = f"{source}; {ledger.doubted} of these on days when the generator itself was late"
        return outcome("T9.soak", None, source=why)
    return found


def _share(asked: int, missed: int) -> float | None:
    return 100 * (asked - missed) / asked if asked else None


def _drift(ledger: Ledger) -> Outcome:
    """Whether messages take longer and longer; what is held against the limit is the least that it may be."""
    found = drift(ledger.p50_ms)
    if found is None:
        return outcome("E2", None, source=f"{ledger.days} days; it takes {CYCLES + SETTLING}")
    return outcome("E2", max(found.low, 0.0), source=f"the median of a day: {found.text}")


def _growers(ledger: Ledger) -> dict[str, int]:
    if len(ledger.samples) <= SETTLING:
        return {}
    return quiet.growers(ledger.samples[SETTLING - 1], ledger.samples[-1])


SCENARIO = Scenario(
    name="soak",
    group="soak",
    title="the same working day again and again: leaks, drift, uptime",
    crowd=crowd,
    plan=plan,
    run=run,
    judged=False,
    kills=True,
    settings="perf.rig.inspection.settings",
    every_s=every_s,
)
