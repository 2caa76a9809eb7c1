"""The mutant of presence: a server that signs nobody off must be convicted of showing ghosts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from perf.checkers import judge
from perf.checkers.presence import BOUND_NS
from perf.history.reader import load
from perf.history.recorder import Recorder
from perf.load.fleet import Fleet, until
from perf.rig.accounts import Account
from perf.rig.database import connected, write_final_reads
from perf.sabotage import SETTINGS, VARIABLE
from perf.scenario import Stage
from perf.scenarios.parts.sightings import Sightings, sees

SEEN_S = 10.0  # patience with the beginning
LONGER_S = 1.0  # than a view may be wrong


async def convicted(stage: Stage, accounts: Sequence[Account]) -> str:
    """Have one user leave such a server while another watches; return the judge's sentence, or nothing.

    `accounts` are those of one conversation. Raises RigError, psycopg.Error.
    """
    database = stage.environment.database_url
    assert database is not None  # a private environment has one
    directory = stage.directory.within("servers/leak")
    leaving, watching = accounts[0], accounts[-1]
    async with (
        stage.environment.another("leak", settings=SETTINGS, **{VARIABLE: "leak"}) as server,
        connected(database) as connection,
    ):
        with Recorder(
            directory.history_of(0), run=f"{stage.recorder.run}-leak", scenario="leak", seed=0
        ) as recorder:
            fleet = Fleet(url=server.url, recorder=recorder, observer=Sightings())
            await fleet.connect([leaving, watching], starts={})
            one, other = fleet.devices
            await until(lambda: sees(other, leaving.user) == "online", within_s=SEEN_S)
            one.leave()
            await asyncio.sleep(BOUND_NS / 1e9 + LONGER_S)
            fleet.disconnect()
        users = {account.user for account in accounts}
        await write_final_reads(connection, directory.stored, starts={}, users=users)
    return next(iter(judge(load(directory)).witnesses.get("ghost online", [])), "")
