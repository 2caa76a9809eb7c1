"""Who is asked for the series of a run: its processes, the server's page, PostgreSQL, Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

import psycopg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from perf.load import probe
from perf.measure import services
from perf.measure.metrics import PageLook
from perf.measure.processes import Group, ProcessGroups
from perf.measure.series import Series
from perf.rig.database import connected
from perf.rig.environment import Environment, family


@asynccontextmanager
async def watching(
    series: Series, environment: Environment, *, redis_url: str | None, generator: Group
) -> AsyncIterator[None]:
    """Sample everything that can be reached for the time inside; what can't is left out."""
    groups: dict[str, Group] = {"server": environment.server_processes, "generator": generator}
    async with AsyncExitStack() as stack:
        with suppress(psycopg.Error):
            if environment.database_url is not None:
                asking = await stack.enter_async_context(connected(environment.database_url))
                groups["postgres"] = await probe.database_group(asking)
                if (took := await services.fsync_ms(asking)) is not None:
                    series.worst("postgres.fsync_ms", took)
                series.source("postgres", services.PostgresLook(asking))
        with suppress(RedisError, OSError):
            if redis_url is not None:
                client = await stack.enter_async_context(Redis.from_url(redis_url))
                pid = await services.valkey_pid(client)
                if pid is not None:
                    groups["valkey"] = partial(family, pid)
                series.source("valkey", services.ValkeyLook(client))
        series.source("server", PageLook(environment.url))
        series.survey("processes", ProcessGroups(groups))
        series.gauge("generator.tasks", lambda: len(asyncio.all_tasks()))
        await stack.enter_async_context(series.sampling())
        yield
