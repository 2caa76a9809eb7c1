"""Runs scenarios, whatever happens: environment, load, final reads, judgement, result, reports.

Everything that a run leaves is in its directory, from which `report.rebuild` makes the report again.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shlex
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, TypeVar

import msgspec
import psycopg
import uvloop

from perf import evidence, observed, report
from perf.history.recorder import Recorder
from perf.history.rundir import RunDirectory
from perf.load import probe
from perf.load.fleet import FleetError
from perf.measure.series import Series
from perf.progress import Progress
from perf.results import concluded, merged
from perf.rig import children
from perf.rig import environment as environments
from perf.rig.children import RigError
from perf.rig.environment import Environment
from perf.rig.limits import raise_file_limit
from perf.scenario import Findings, Options, Result, Scenario, Stage
from perf.scenarios import health
from perf.watch import watching

T = TypeVar("T")

PASSWORD = re.compile(r"(://[^/@:]*:)[^/@]*@")


def execute(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop. Ctrl-C and SIGTERM cancel it, so that everything is cleaned up.

    A second Ctrl-C kills the children, so that nothing is left to wait for.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(work)
        except (KeyboardInterrupt, SystemExit):
            children.kill_all()  # a first Ctrl-C has left none
            raise


def run(
    scenario: Scenario, options: Options, *, progress: Progress, arguments: Sequence[str]
) -> Result:
    """Run a scenario. Raises RigError when it could not run at all; `arguments` repeat it."""
    return execute(measure(scenario, options, progress=progress, command=command(arguments)))


def run_or_explain(
    scenario: Scenario, options: Options, *, progress: Progress, arguments: Sequence[str]
) -> Result:
    """Run a scenario among others; one that could not run is unknown, with the reason."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        return run(scenario, options, progress=progress, arguments=arguments)
    except RigError as error:
        return concluded(
            scenario.name,
            Findings(outcomes=[], unknown=[f"it could not run: {error}"]),
            seed=options.seed,
            started=started,
            duration_s=0.0,
            environment={},
            command=command(arguments),
        )


def merge(
    group: str, found: Sequence[Result], options: Options, *, arguments: Sequence[str]
) -> Result:
    """One result of all scenarios of a group, with a directory of its own. Raises OSError."""
    name = f"{group}-all"
    directory = RunDirectory.make(options.runs, scenario=name, seed=options.seed)
    runs = [one.directory for one in found]
    _write(directory.plan, {"scenario": name, "seed": options.seed, "runs": runs})
    result = merged(name, found, command=command(arguments), directory=directory)
    _write(directory.environment, result.environment)
    report.write(result, directory)
    return result


def run_health(options: Options, *, arguments: Sequence[str]) -> Result:
    """Look at this installation, or at the server at --url."""
    started, begun = datetime.now(UTC), perf_counter()
    findings = execute(health.examine(options))
    return concluded(
        "health",
        findings,
        seed=options.seed,
        started=started.isoformat(timespec="seconds"),
        duration_s=round(perf_counter() - begun, 1),
        environment=dict(health.facts(options)),
        command=command(arguments),
    )


async def measure(
    scenario: Scenario, options: Options, *, progress: Progress, command: str
) -> Result:
    """Run a scenario. Raises RigError when it could not run at all."""
    started, begun = datetime.now(UTC), perf_counter()
    raise_file_limit()
    directory = RunDirectory.make(options.runs, scenario=scenario.name, seed=options.seed)
    _write(directory.plan, plan_of(scenario, options, command=command))
    async with _environment(scenario, options, directory, progress) as place:
        _write(directory.environment, dict(place.facts))
        starts = await evidence.starts_of(place) if scenario.judged else {}
        findings = await _perform(scenario, place, options, directory, progress)
        if scenario.judged:
            progress.say("reading what is stored")
            await evidence.read_finally(place, directory, starts=starts)
    if scenario.judged:
        progress.say("judging the history")
        evidence.conclude(findings, directory, goals=scenario.goals)
    observed.conclude(findings, directory, place.facts)
    result = concluded(
        scenario.name,
        findings,
        seed=options.seed,
        started=started.isoformat(timespec="seconds"),
        duration_s=round(perf_counter() - begun, 1),
        environment=dict(place.facts),
        command=command,
        directory=directory,
    )
    report.write(result, directory)
    return result


def plan_of(scenario: Scenario, options: Options, *, command: str) -> dict[str, Any]:
    """What is going to be done and what it costs; plan.json, and what --dry-run prints."""
    crowd = scenario.crowd(options)
    return {
        "scenario": scenario.name,
        "title": scenario.title,
        "seed": options.seed,
        "quick": options.quick,
        "devices": crowd.conversations * crowd.members * crowd.devices,
        "conversations": crowd.conversations,
        "server": options.url or f"private, {options.server}, {options.processes} processes",
        **scenario.plan(options),
        "command": command,
    }


async def _perform(
    scenario: Scenario,
    place: Environment,
    options: Options,
    directory: RunDirectory,
    progress: Progress,
) -> Findings:
    """Run the scenario itself, its history on record."""
    series = Series(directory.series)
    with Recorder(
        directory.history_of(0),
        run=f"{options.seed:x}-{secrets.token_hex(4)}",
        scenario=scenario.name,
        seed=options.seed,
        full=scenario.full,
    ) as recorder:
        stage = Stage(
            options=options,
            environment=place,
            directory=directory,
            recorder=recorder,
            series=series,
            progress=progress,
        )
        try:
            async with watching(
                series, place, redis_url=place.redis_url, generator=probe.generator
            ):
                return await scenario.run(stage)
        except (FleetError, psycopg.Error) as error:
            raise RigError(str(error).partition("\n")[0]) from None


@asynccontextmanager
async def _environment(
    scenario: Scenario, options: Options, directory: RunDirectory, progress: Progress
) -> AsyncIterator[Environment]:
    if options.url is None:
        progress.say("starting PostgreSQL, Valkey and the server")
        async with environments.private(
            crowd=scenario.crowd(options),
            processes=options.processes,
            server=options.server,
            logs=directory.logs,
        ) as place:
            yield place
        return
    if options.accounts is None:
        raise RigError("--url needs --accounts: make some with `manage.py provision > FILE`")
    async with environments.running(
        url=options.url,
        accounts_file=options.accounts,
        database_url=options.database_url,
        redis_url=os.environ.get("REDIS_URL"),
    ) as place:
        yield place


def _write(path: Any, value: object) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def command(arguments: Sequence[str]) -> str:
    """The command line that repeats a run; it is kept and shown, so without passwords."""
    return shlex.join(["manage.py", "perf", *(PASSWORD.sub(r"\1***@", one) for one in arguments)])
