"""From a run's directory to its judgement: what is stored is read, the history is loaded and judged."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from time import perf_counter

import psycopg

from perf.checkers import judge
from perf.history.reader import load
from perf.history.rundir import RunDirectory
from perf.rig.children import RigError
from perf.rig.database import connected, is_standby, last_seqs, write_final_reads
from perf.rig.environment import Environment
from perf.scenario import Findings
from perf.smallest import write_smallest


async def starts_of(place: Environment) -> dict[str, int]:
    """Beyond which change each conversation matters. Raises RigError, psycopg.Error.

    A private environment matters from its beginning; what a deployment has said before does not.
    """
    if place.servers or place.database_url is None:
        return {}
    names = {name for account in place.accounts for name in account.conversations}
    try:
        async with connected(place.database_url) as connection:
            standby = await is_standby(connection)
            starts = await last_seqs(connection, names)
    except psycopg.OperationalError as error:
        reason = " ".join(str(error).split())
        raise RigError(f"{reason}: is --database (or DATABASE_URL) that of {place.url}?") from None
    if standby:
        raise RigError(
            "that is a standby, which may not have yet what the server has acknowledged: "
            "give --database (or DATABASE_URL) of the primary"
        )
    if missing := len(names - starts.keys()):
        raise RigError(
            f"{missing} of the accounts' {len(names)} conversations are not in the database: "
            f"is --database (or DATABASE_URL) that of {place.url}?"
        )
    return starts


async def read_finally(
    place: Environment, directory: RunDirectory, *, starts: Mapping[str, int]
) -> None:
    """Write down what is stored in the end, if there is a database to ask. Raises psycopg.Error."""
    if place.database_url is None:
        return
    users = {account.user for account in place.accounts}
    async with connected(place.database_url) as connection:
        await write_final_reads(connection, directory.stored, starts=starts, users=users)


def conclude(findings: Findings, directory: RunDirectory, *, goals: Collection[str]) -> None:
    """Judge the history of a run and add what follows from it to the findings. Raises OSError."""
    begun = perf_counter()
    history = load(directory)
    loaded = perf_counter()
    judgement = judge(history, goals=goals)
    findings.figures["loading_s"] = round(loaded - begun, 2)
    findings.figures["judging_s"] = round(perf_counter() - loaded, 2)
    findings.judgement = judgement
    if judgement.anomalies:
        findings.figures["smallest_histories"] = {
            anomaly: str(path) for anomaly, path in write_smallest(directory, judgement).items()
        }
    findings.coverage += judgement.coverage
    findings.unknown += judgement.problems
    if not (judgement.promises and judgement.deliveries):
        findings.unknown.append("nothing was sent, acknowledged and delivered")
    if findings.concluding is not None:
        findings.outcomes += findings.concluding(judgement)
