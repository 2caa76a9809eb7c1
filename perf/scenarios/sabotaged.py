"""Real servers that are broken on purpose: each must be convicted of what it does, and the whole one
of nothing. `workout` drives them, `perf.sabotage` breaks them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from perf.checkers import judge
from perf.history.reader import load
from perf.history.recorder import Recorder
from perf.history.rundir import RunDirectory
from perf.rig.accounts import Account
from perf.rig.database import Connection, connected, write_final_reads
from perf.rig.environment import Crowd
from perf.sabotage import ALL, LEAK, SETTINGS, VARIABLE, Sabotage
from perf.scenario import Stage
from perf.scenarios.parts.workout import CROWD, Workout

HEALTHY = "healthy"
GOALS = frozenset({"resume", "deletion seen", "leaving", "delivery after a fence"})
QUICK = ("drop", "revocation")


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What one server was convicted of. Without a `sabotage` it was whole."""

    sabotage: Sabotage | None
    counts: dict[str, int]
    witness: str = ""
    problems: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the sabotage."""
        return self.sabotage.name if self.sabotage is not None else HEALTHY

    @property
    def caught(self) -> bool:
        """Whether the verdict was the right one."""
        if self.sabotage is None:
            return not self.counts and not self.problems
        return self.counts.get(self.sabotage.anomaly, 0) > 0

    @property
    def sentence(self) -> str:
        """What came of it."""
        found = ", ".join(f"{name} {count}" for name, count in self.counts.items()) or "nothing"
        what = "the whole server" if self.sabotage is None else self.sabotage.what
        troubles = f" ({'; '.join(self.problems)})" if self.problems else ""
        return f"{what}: convicted of {found}{troubles}"


def wanted(*, quick: bool) -> list[Sabotage]:
    """Those to try."""
    return [one for one in ALL if not quick or one.name in QUICK]


def crowd(*, quick: bool) -> Crowd:
    """A conversation for each server, the whole one included."""
    return Crowd(
        conversations=len(wanted(quick=quick)) + 1, members=CROWD.members, devices=CROWD.devices
    )


async def attempts(stage: Stage) -> list[Attempt]:
    """Try the whole server and each of the broken ones. Raises RigError, psycopg.Error."""
    tried: list[Sabotage | None] = [None, *wanted(quick=stage.options.quick)]
    groups = by_conversation(stage.environment.accounts)
    slots = asyncio.Semaphore(len(tried) if stage.options.quick else 1)
    with stage.progress.bar("sabotaged servers", len(tried)) as bar:

        async def one(sabotage: Sabotage | None, accounts: Sequence[Account]) -> Attempt:
            async with slots:
                found = await attempt(stage, sabotage, accounts)
            stage.progress.say(f"{found.name}: {'right' if found.caught else 'WRONG'}")
            bar.advance()
            return found

        return await asyncio.gather(*map(one, tried, groups))


async def attempt(stage: Stage, sabotage: Sabotage | None, accounts: Sequence[Account]) -> Attempt:
    """Try one server with the devices of one conversation."""
    database = stage.environment.database_url
    assert database is not None  # a private environment has one
    name = sabotage.name if sabotage is not None else HEALTHY
    directory = stage.directory.within(f"servers/{name}")
    async with _server(stage, sabotage) as url, connected(database) as connection:
        with Recorder(
            directory.history_of(0),
            run=f"{stage.recorder.run}-{name}",
            scenario=name,
            seed=stage.options.seed,
        ) as recorder:
            workout = Workout(url=url, accounts=accounts, recorder=recorder, connection=connection)
            leaked = await workout.run()
        return await _judged(sabotage, directory, connection, workout=workout, leaked=leaked)


@asynccontextmanager
async def _server(stage: Stage, sabotage: Sabotage | None) -> AsyncIterator[str]:
    if sabotage is None:
        yield stage.environment.url
        return
    async with stage.environment.another(
        sabotage.name, settings=SETTINGS, **{VARIABLE: sabotage.name}
    ) as server:
        yield server.url


async def _judged(
    sabotage: Sabotage | None,
    directory: RunDirectory,
    connection: Connection,
    *,
    workout: Workout,
    leaked: int,
) -> Attempt:
    users = {account.user for account in workout.accounts}
    await write_final_reads(connection, directory.stored, starts={}, users=users)
    judgement = judge(load(directory), goals=GOALS if sabotage is None else ())
    counts = {name: count for name, count in judgement.counts.items() if count}
    if leaked:
        counts[LEAK] = leaked
    unmet = [one.problem for one in judgement.coverage if one.problem and not counts]
    anomaly = sabotage.anomaly if sabotage is not None else next(iter(counts), "")
    witness = next(iter(judgement.witnesses.get(anomaly, [])), "")
    if anomaly == LEAK and leaked:
        witness = f"{leaked} sessions are stored though all sockets of their devices are closed."
    return Attempt(
        sabotage=sabotage,
        counts=counts,
        witness=witness,
        problems=(*workout.problems, *judgement.problems, *filter(None, unmet)),
    )


def by_conversation(accounts: Sequence[Account]) -> list[list[Account]]:
    """The accounts of each conversation; every user is in one."""
    groups: dict[str, list[Account]] = {}
    for account in accounts:
        groups.setdefault(account.conversations[0], []).append(account)
    return list(groups.values())
