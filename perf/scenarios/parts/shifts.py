"""One day of a soak: a team is made, works on two servers, goes home, is judged and erased.

Every day is the same plan with new people, so that cycles are equal (`perf.measure.statistics`), and neither
the database nor the history grows: what was judged is removed. The second server lives for the day only and is
deployed in it; the first one lives through all days, and is what may leak.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from perf.checkers import Judgement, judge
from perf.history.reader import load
from perf.history.recorder import Recorder
from perf.history.rundir import RunDirectory
from perf.measure.latency import Latency
from perf.rig import children
from perf.rig.accounts import Account
from perf.rig.children import manage
from perf.rig.database import Connection, erase, last_seqs, write_final_reads
from perf.rig.environment import Crowd, Environment, provision
from perf.scenario import Stage
from perf.scenarios.parts.days import Day, Team
from perf.scenarios.parts.floor import Floor, by_user
from perf.scenarios.parts.office import Office
from perf.scenarios.parts.rollout import Door
from perf.scenarios.parts.shared import conversations_of
from perf.scenarios.parts.shelves import Compared, Kept, Shelves, compare, kept

PROCESSES = 2  # of the second server: a deploy replaces one after the other
CLEAN_S = 60.0
KEPT = 8  # histories of bad days
GOALS = frozenset({"lost", "lost ack", "reordered", "delivery after a fence", "catch-up", "leaving", "fault felt"})  # fmt: skip


@dataclass(kw_only=True)
class Shift:
    """One day: who worked, and what came of it. `kept` and `accounts` are given up with the erasure."""

    number: int
    directory: RunDirectory
    accounts: Sequence[Account] = ()
    kept: Sequence[Kept] = ()
    starts: Mapping[str, int] = field(default_factory=dict)
    judgement: Judgement = field(default_factory=Judgement)
    compared: Compared = field(default_factory=lambda: Compared(devices=0, equal=0, messages=0))
    live: Latency = field(default_factory=Latency)
    asked: int = 0  # at the door
    answered: int = 0
    doubt: str = ""  # why an answer that came too late may be the generator's own lateness
    opened: int = 0  # sessions
    failures: int = 0  # to open one
    connections: int = 0  # to the first server
    messages: int = 0
    back_s: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def bad(self) -> bool:
        """Whether it must be looked at: its history is kept then."""
        return bool(self.judgement.anomalies or self.problems or self.compared.differences)


async def work(stage: Stage, team: Team, day: Day, number: int, connection: Connection) -> Shift:
    """The day itself; everybody is at home and the second server is gone when it returns.

    Raises RigError, NoAnswer, FleetError, psycopg.Error.
    """
    place = stage.environment
    shift = Shift(number=number, directory=stage.directory.within(f"days/{number:05}"))
    making = asyncio.create_task(_people(place, team, number))
    try:
        async with place.beside("second", {}, processes=PROCESSES) as second:
            shift.accounts = await making
            shift.starts = await last_seqs(connection, conversations_of(shift.accounts))
            with Recorder(
                shift.directory.history_of(0),
                run=f"{stage.recorder.run}-{number}",
                scenario=f"day {number}",
                seed=stage.options.seed,
            ) as recorder:
                floor = Floor(
                    urls=[place.url, second.url],
                    people=by_user(shift.accounts),
                    recorder=recorder,
                    shelves=Shelves(stage.series),
                )
                office = Office(day=day, floor=floor, series=stage.series, deployed=second)
                async with _open(floor, day, shift):
                    await office.work()
    finally:
        making.cancel()
        await asyncio.wait([making])
    _note(office, shift)
    return shift


async def _people(place: Environment, team: Team, number: int) -> list[Account]:
    assert place.logs is not None  # a private environment has a place for them
    crowd = Crowd(conversations=1, members=team.people, devices=team.devices)
    return await provision(crowd, env=place.env, logs=place.logs, prefix=f"perf-day{number}")


@asynccontextmanager
async def _open(floor: Floor, day: Day, shift: Shift) -> AsyncIterator[None]:
    """The rooms of the morning; and somebody who asks at the door, all day."""
    await floor.open(day.rooms)
    door = Door(urls=floor.urls, token=shift.accounts[0].token)
    knocking = asyncio.create_task(door.run())
    try:
        yield
    finally:
        knocking.cancel()
        await asyncio.wait([knocking])
        shift.asked, shift.answered = door.asked, door.answered
        await floor.close()


def _note(office: Office, shift: Shift) -> None:
    """Keep what is needed of a day that is over."""
    floor, shelves = office.floor, office.floor.shelves
    shift.kept = kept(shelves, floor.staying, late=floor.late)
    shift.live, shift.back_s = shelves.live, office.back_s
    shift.doubt = office.generator.trouble or ""
    shift.opened = sum(len(fleet.connect_s) for fleet in floor.fleets)
    shift.failures = sum(len(fleet.failures) for fleet in floor.fleets)
    shift.connections = sum(device.sessions for device in floor.fleets[0].devices)
    shift.messages = sum(floor.done[what] for what in ("send", "edit", "delete", "file"))
    shift.problems = [*floor.problems, *shelves.strange(revoked=len(floor.gone))]


async def examine(shift: Shift, connection: Connection) -> None:
    """Read what is stored, judge the history, compare every device. Raises psycopg.Error, OSError."""
    users = {account.user for account in shift.accounts}
    await write_final_reads(connection, shift.directory.stored, starts={}, users=users)
    shift.judgement = judge(load(shift.directory), goals=GOALS)
    shift.problems += shift.judgement.problems
    shift.compared = compare(shift.kept, shift.directory.stored, starts=shift.starts)


async def clear(shift: Shift, connection: Connection) -> None:
    """Erase the people and all that they said, and the history if nothing was wrong with it. Raises psycopg.Error."""
    await erase(connection, users=list({account.user for account in shift.accounts}))
    shift.accounts, shift.kept = (), ()
    if not shift.bad:
        shutil.rmtree(shift.directory.path)


def prune(directory: RunDirectory) -> None:
    """Keep the histories of the first KEPT days on which something was wrong: of thousands no disk has room."""
    for path in sorted((directory.path / "days").glob("*"))[KEPT:]:
        shutil.rmtree(path)


async def clean_files(place: Environment) -> None:
    """Have the product remove the files that nobody has any more. Raises RigError."""
    assert place.logs is not None
    await children.run(
        manage("clean_files", "--hours", "0"),
        env=place.env,
        log=place.logs / "clean_files.log",
        within_s=CLEAN_S,
    )
