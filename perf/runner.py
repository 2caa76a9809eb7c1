"""Runs a scenario in its environment and gives back a result, whatever happens."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, TypeVar

import msgspec
import psycopg
import uvloop

from perf import environment as environments
from perf.children import RigError
from perf.environment import Environment
from perf.fleet import FleetError
from perf.scenario import Findings, Options, Result, Scenario
from perf.scenarios import health

T = TypeVar("T")


def run(scenario: Scenario, options: Options, *, arguments: Sequence[str]) -> Result:
    """Run a scenario. Raises RigError when it could not run at all; `arguments` repeat it."""
    return execute(measure(scenario, options, arguments=arguments))


def execute(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop; Ctrl-C cancels it, so that everything is cleaned up."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def run_health(options: Options, *, arguments: Sequence[str]) -> Result:
    """Look at this installation, or at the server at --url."""
    started, begun = datetime.now(UTC), perf_counter()
    findings = execute(health.examine(options))
    return result(
        "health",
        findings,
        seed=options.seed,
        started=started.isoformat(timespec="seconds"),
        duration_s=round(perf_counter() - begun, 1),
        environment=dict(health.facts(options)),
        command=shlex.join(["manage.py", "perf", *arguments]),
    )


async def measure(scenario: Scenario, options: Options, *, arguments: Sequence[str]) -> Result:
    """Run a scenario. Raises RigError when it could not run at all."""
    started, begun = datetime.now(UTC), perf_counter()
    async with _environment(scenario, options) as place:
        try:
            findings = await scenario.run(place, options)
        except (FleetError, psycopg.Error) as error:
            raise RigError(str(error).partition("\n")[0]) from None
        return result(
            scenario.name,
            findings,
            seed=options.seed,
            started=started.isoformat(timespec="seconds"),
            duration_s=round(perf_counter() - begun, 1),
            environment=dict(place.facts),
            command=shlex.join(["manage.py", "perf", *arguments]),
        )


@asynccontextmanager
async def _environment(scenario: Scenario, options: Options) -> AsyncIterator[Environment]:
    if options.url is None:
        options.say("starting PostgreSQL, Valkey and the server")
        async with environments.private(
            crowd=scenario.crowd(options), processes=options.processes, server=options.server
        ) as place:
            yield place
        return
    if options.accounts is None:
        raise RigError("--url needs --accounts: make some with `manage.py provision > FILE`")
    async with environments.running(
        url=options.url, accounts_file=options.accounts, database_url=options.database_url
    ) as place:
        yield place


def result(
    name: str,
    findings: Findings,
    *,
    seed: int,
    started: str,
    duration_s: float,
    environment: dict[str, Any],
    command: str,
) -> Result:
    """Return what is written as JSON."""
    summary = findings.latency
    return Result(
        scenario=name,
        seed=seed,
        started=started,
        duration_s=duration_s,
        environment=environment,
        verdict=findings.verdict,
        passed=findings.verdict == "valid",
        targets=findings.outcomes,
        anomalies=findings.judgement.counts,
        figures={
            **findings.figures,
            "checked": {
                "messages": findings.judgement.messages,
                "deliveries": findings.judgement.deliveries,
                "promises": findings.judgement.promises,
            },
        },
        latency_ms={
            field: getattr(summary, field)
            for field in ("p50", "p90", "p99", "p999", "max", "count")
        },
        resources=msgspec.to_builtins(findings.resources),
        problems=findings.problems,
        witnesses=findings.judgement.witnesses,
        command=command,
    )
