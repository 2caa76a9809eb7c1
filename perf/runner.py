"""Runs scenarios, whatever happens: environment, load, final reads, judgement, result, reports.

Everything that a run leaves is in its directory, from which `report.rebuild` makes the report again.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import secrets
import shlex
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import msgspec
import psycopg
import uvloop
from redis.exceptions import RedisError

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
from perf.rig.survivors import Survivors
from perf.sabotage import BY_NAME, SETTINGS, VARIABLE
from perf.scenario import Findings, Options, Result, Scenario, Stage
from perf.scenarios import health
from perf.watch import watching

T = TypeVar("T")

SWITCH_S = 0.0005  # the sampler's thread may keep the load waiting so long; Python's own is 5 ms
HUNG_S, HUNG_TIMES = 300.0, 5.0  # a run may last so many times its plan, and so much longer
EXPECTED = (RigError, FleetError, psycopg.Error, RedisError, OSError)  # their text says it all

# In an address (to its last @, for one may stand in a password), and as `password=…` of a DSN or a query.
PASSWORD = re.compile(r"(://[^/@:]*:)[^/]*@|(\bpassword\s*=\s*)('[^']*'|[^\s&']+)")


def execute(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop. Ctrl-C and SIGTERM cancel it, so that everything is cleaned up.

    A second Ctrl-C kills the children, so that nothing is left to wait for.
    """
    sys.setswitchinterval(SWITCH_S)
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
    """Run a scenario among others, which one that fails must not stop: it is unknown, with the reason."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        return run(scenario, options, progress=progress, arguments=arguments)
    except EXPECTED as error:
        return concluded(
            scenario.name,
            Findings(outcomes=[], unknown=[f"it could not run: {_first_line(error)}"]),
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
    _refuse(options)
    raise_file_limit()
    directory = RunDirectory.make(options.runs, scenario=scenario.name, seed=options.seed)
    _write(directory.plan, plan_of(scenario, options, command=command))
    async with _environment(scenario, options, directory, progress) as place:
        _write(directory.environment, dict(place.facts))
        with explained(directory):
            starts = await evidence.starts_of(place) if scenario.judged else {}
            survivors = Survivors(place)
            findings = await _perform(scenario, place, options, directory, progress)
            findings.broken += survivors.problems(killed=scenario.kills)
            if scenario.judged:
                progress.say("reading what is stored")
                await evidence.read_finally(place, directory, starts=starts)
        threading.Thread(target=_load_plotting, daemon=True).start()
    with explained(directory):
        if scenario.judged:
            progress.say("judging the history")
            evidence.conclude(findings, directory, goals=scenario.goals)
        observed.conclude(findings, directory, place.facts)
        if options.sabotage is not None:
            findings.figures["sabotage"] = BY_NAME[options.sabotage].what
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


def _refuse(options: Options) -> None:
    """What can't be, before there is a directory of it. Raises RigError."""
    if options.url is None:
        return
    if options.sabotage is not None:
        raise RigError("only a private environment may be broken on purpose: leave out --url")
    if options.accounts is None:
        raise RigError("--url needs --accounts: make some with `manage.py provision > FILE`")
    environments.look_at(options.url, options.accounts)


def _load_plotting() -> None:
    """Load what the report needs while the environment is being ended: it takes a second."""
    with suppress(ImportError):
        importlib.import_module("matplotlib.figure")


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
        "server": options.url
        or f"private, {options.server}, {max(options.processes, scenario.processes)} processes",
        **({"sabotage": BY_NAME[options.sabotage].what} if options.sabotage else {}),
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
    series = Series(directory.series, every_s=scenario.every_s(options))
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
        async with watching(series, place, redis_url=place.redis_url, generator=probe.generator):
            findings = await _bounded(scenario, stage)
    if series.failures:
        findings.figures["not_sampled"] = dict(series.failures)
    return findings


async def _bounded(scenario: Scenario, stage: Stage) -> Findings:
    """Run the scenario, but not for ever: whoever hangs must not hang the rig. Raises RigError."""
    planned = float(scenario.plan(stage.options).get("seconds", 0))
    most = HUNG_S + HUNG_TIMES * planned
    try:
        async with asyncio.timeout(most) as limit:
            return await scenario.run(stage)
    except TimeoutError:
        if not limit.expired():
            raise
        raise RigError(
            f"it hung: planned for {planned:.0f} s, it had not ended after {most:.0f} s; see {stage.directory.logs}"
        ) from None


@contextmanager
def explained(directory: RunDirectory) -> Iterator[None]:
    """Make one line of any error inside; its stack trace goes to the run's logs. Raises RigError."""
    try:
        yield
    except Exception as error:
        log = directory.logs / "rig.log"
        log.write_text(traceback.format_exc())
        raise RigError(_line(error, log)) from None


def _line(error: Exception, log: Path) -> str:
    while isinstance(error, ExceptionGroup):  # of tasks that went on side by side
        error = error.exceptions[0]
    if isinstance(error, EXPECTED):
        return _first_line(error)
    return f"a fault of perf itself, {type(error).__name__}: {_first_line(error)}; see {log}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


@asynccontextmanager
async def _environment(
    scenario: Scenario, options: Options, directory: RunDirectory, progress: Progress
) -> AsyncIterator[Environment]:
    if options.url is None:
        progress.say("starting PostgreSQL, Valkey and the server")
        async with environments.private(
            crowd=scenario.crowd(options),
            processes=max(options.processes, scenario.processes),
            server=options.server,
            spare=scenario.kills,
            settings=scenario.settings,
            logs=directory.logs,
            env=_broken(options.sabotage),
        ) as place:
            yield place
        return
    assert options.accounts is not None  # see `_refuse`
    async with environments.running(
        url=options.url,
        accounts_file=options.accounts,
        database_url=options.database_url,
        redis_url=os.environ.get("REDIS_URL"),
    ) as place:
        yield place


def _broken(sabotage: str | None) -> dict[str, str]:
    """With which environment a server breaks itself."""
    if sabotage is None:
        return {}
    return {"DJANGO_SETTINGS_MODULE": SETTINGS, VARIABLE: sabotage}


def _write(path: Any, value: object) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def command(arguments: Sequence[str]) -> str:
    """The command line that repeats a run; it is kept and shown, so without passwords."""
    return shlex.join(["manage.py", "perf", *(PASSWORD.sub(_hidden, one) for one in arguments)])


def _hidden(found: re.Match[str]) -> str:
    return f"{found[1]}***@" if found[1] else f"{found[2]}***"
