"""`perf e2e production-scenarios`: whole journeys of users, then a team's day, compressed, with deploys in it.

Everything goes the way that users go: passwords, REST, sockets. It is judged by the history, by comparing
every device with the database in the end, and by who asks the door all day. `parts` has the steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from perf.checkers import Judgement
from perf.coverage import Covered
from perf.load.fleet import Fleet
from perf.load.rest import Rest
from perf.rig.environment import Crowd, RigError
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.parts import days
from perf.scenarios.parts.days import Team
from perf.scenarios.parts.floor import Floor, by_user
from perf.scenarios.parts.journey import Journey
from perf.scenarios.parts.office import Office
from perf.scenarios.parts.phonebook import Phonebook, people
from perf.scenarios.parts.rollout import Door
from perf.scenarios.parts.shared import (
    agreement,
    connected_percent,
    note_generator,
    outcome_of,
    starts_of,
)
from perf.scenarios.parts.shelves import Shelves, compare, kept
from perf.targets import Outcome, outcome

JOURNEYS, QUICK_JOURNEYS = 10, 1
TRAVELLERS = 3  # in a journey
DAY_S, QUICK_DAY_S = 120.0, 7.0
PER_S, QUICK_PER_S = 25.0, 40.0  # requests of the team
PROCESSES = 2  # at least: a deploy replaces one after the other
GOALS = frozenset(
    (
        *("lost", "lost ack", "lost receipt", "reordered", "delivery after a fence"),
        *("resume", "catch-up", "edit while offline", "deletion seen", "leaving", "late joiner"),
        *("misrouted presence", "fault felt"),
    )
)


def team_of(options: Options) -> Team:
    """Fifty people with three devices each, or a dozen with two."""
    seconds = options.duration_s or (QUICK_DAY_S if options.quick else DAY_S)
    if options.quick:
        return Team(people=12, devices=2, rooms=8, requests=round(QUICK_PER_S * seconds), files=3, joins=3, leaves=3, deploys=(13.0,), seconds=seconds)  # fmt: skip
    return Team(people=50, devices=3, rooms=30, requests=round((options.rate or PER_S) * seconds), files=40, joins=20, leaves=20, deploys=(13.0, 26.0), seconds=seconds)  # fmt: skip


def journeys_of(options: Options) -> int:
    """How many users make the whole way, one after the other."""
    return QUICK_JOURNEYS if options.quick else JOURNEYS


def crowd(options: Options) -> Crowd:
    """The team; who makes a journey begins with a password."""
    team = team_of(options)
    return Crowd(conversations=1, members=team.people, devices=team.devices)


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints."""
    team = team_of(options)
    day = days.make(team, seed=options.seed)
    return {
        "journeys": journeys_of(options),
        "people": team.people,
        "devices_of_each": team.devices,
        "rooms": team.rooms,
        "day": {"from_hour": days.BEGINS, "to_hour": days.ENDS, "seconds": team.seconds},
        "happens": day.counts(),
        "server_processes": max(options.processes, PROCESSES),
        "seconds": round(10 + 8 * journeys_of(options) + team.seconds + 10),
    }


@dataclass(kw_only=True)
class Production:
    """One run's parts."""

    stage: Stage
    shelves: Shelves
    travels: Journey
    office: Office
    door: Door
    password: str
    names: list[str]
    starts: dict[str, int]  # of the conversations that there were before


async def run(stage: Stage) -> Findings:
    """The journeys, then the day."""
    async with _prepared(stage) as it:
        knocking = asyncio.create_task(it.door.run())
        try:
            await _travel(it)
            team = team_of(stage.options)
            stage.progress.say(f"a day of {team.people} people in {team.seconds:.0f} s")
            await it.office.work()
        finally:
            knocking.cancel()
        await asyncio.wait([knocking])
        return _findings(it)


async def _travel(it: Production) -> None:
    options, accounts = it.stage.options, it.stage.environment.accounts
    with it.stage.progress.bar("journeys", journeys_of(options)) as bar:
        for number in range(journeys_of(options)):
            names = it.names[number * TRAVELLERS : (number + 1) * TRAVELLERS]
            accounts += await it.travels.run(names, it.password)
            bar.advance()


@asynccontextmanager
async def _prepared(stage: Stage) -> AsyncIterator[Production]:
    place = stage.environment
    if not place.servers:
        raise RigError("production-scenarios deploys servers of its own: leave out --url")
    shelves, rest = Shelves(stage.series), Rest(place.url)
    names, password = await people(place, TRAVELLERS * journeys_of(stage.options))
    day = days.make(team_of(stage.options), seed=stage.options.seed)
    floor = Floor(
        urls=[place.url],
        people=by_user(place.accounts),
        recorder=stage.recorder,
        shelves=shelves,
    )
    await floor.open(day.rooms)
    own = Fleet(url=place.url, recorder=stage.recorder, observer=shelves)
    try:
        yield Production(
            stage=stage,
            shelves=shelves,
            travels=Journey(
                book=Phonebook(rest), fleet=own, shelves=shelves, recorder=stage.recorder
            ),
            office=Office(day=day, floor=floor, series=stage.series, deployed=place.servers[0]),
            door=Door(urls=[place.url], token=place.accounts[0].token),
            password=password,
            names=names,
            starts=await starts_of(place),
        )
    finally:
        own.disconnect()
        await floor.close()
        await rest.close()


def _findings(it: Production) -> Findings:
    floor, travels, office = it.office.floor, it.travels, it.office
    here = [one for one in travels.fleet.devices if one.number not in travels.gone]
    devices = kept(it.shelves, [*floor.staying, *here], late=floor.late | travels.late)
    stored, trusted = it.stage.directory.stored, office.generator

    def concluding(judgement: Judgement) -> list[Outcome]:
        return [*agreement(judgement), compare(devices, stored, starts=it.starts).outcome()]

    findings = Findings(
        outcomes=[
            outcome_of(trusted, "T2", it.shelves.live.percentile(99), source=f"{it.shelves.live.count:,} deliveries between undisturbed sessions"),
            outcome_of(trusted, "T5", travels.read.percentile(99), source=f"{travels.read.count} messages of journeys"),
            outcome_of(trusted, "T6.resume", travels.back.summary().max, source=f"{travels.back.count} laptops that had missed messages, an edit and a deletion"),
            outcome_of(trusted, "T6.file", travels.fetched.percentile(99), source=f"{travels.fetched.count} files of journeys"),
            outcome("T7", connected_percent(*floor.fleets, travels.fleet), source="sessions opened, also while servers were replaced"),
            outcome_of(trusted, "T9", it.door.percent, source=f"{it.door.asked} requests at the door, all day" + (f"; {it.door.why}" if it.door.why else "")),
            outcome("T11", max(office.back_s, default=None), source=f"the slowest of {len(office.back_s)} deploys, until all were back"),
        ],
        concluding=concluding,
        latency=it.shelves.live.summary(),
        spectra={"delivery": it.shelves.live, "door": it.door.latency},
        coverage=[Covered(name=name, kind="always", checked=checked, held=held) for name, (checked, held) in travels.checks.items()],
        broken=[*floor.problems, *it.shelves.strange(revoked=len(floor.gone) + len(travels.gone))],
    )  # fmt: skip
    findings.figures |= {**facts(office), "generator": trusted.figures()}
    note_generator(trusted, findings)
    return findings


def facts(office: Office) -> dict[str, Any]:
    """What happened in a day, for people."""
    floor = office.floor
    return {
        "happened": dict(floor.done),
        "live_deliveries": floor.shelves.deliveries,
        "refusals": dict(floor.shelves.refusals),
        "turned_away": {str(code): count for code, count in floor.shelves.turned_away.items()},
        "asked_again_over_rest": floor.asked_again,
        "files_p99_ms": floor.files.percentile(99),
        "deploys_s": [round(one, 2) for one in office.deploys_s],
        "back_after_deploys_s": [round(one, 2) for one in office.back_s],
    }


SCENARIO = Scenario(
    name="production-scenarios",
    group="e2e",
    title="users' whole journeys, and a team's compressed day with deploys, errands and offline nights",
    crowd=crowd,
    plan=plan,
    run=run,
    kills=True,
    processes=PROCESSES,
    goals=GOALS,
)
