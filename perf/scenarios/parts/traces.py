"""What sessions leave on a server: descriptors, rows, channels, its own count. All of it must go back to what it was."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
import psutil
from redis.asyncio import Redis

from perf.history.testimony import clock
from perf.measure import metrics
from perf.rig.database import connected
from perf.rig.environment import Environment

LOOKS, LOOK_S = (
    4,
    0.25,
)  # a look may meet a request that is just answered: the least of several counts

ROWS = "SELECT count(*) FROM presence_connection WHERE device_id = ANY (%s::uuid[])"
BACKENDS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
   AND backend_type = 'client backend' AND application_name <> 'lockstep perf'
"""


class Traces(msgspec.Struct, frozen=True, kw_only=True):
    """Counts at one moment; None where nobody could look.

    `descriptors` are those of the server's processes without its database connections, whose pool
    grows and shrinks by itself; `rows` are the devices' `Connection` rows, `channels` the
    subscriptions of the bus, `sessions` what the server's own /metrics says.
    """

    descriptors: int | None = None
    rows: int | None = None
    channels: int | None = None
    sessions: int | None = None

    def beyond(self, before: Traces) -> dict[str, int]:
        """By name: how much more there is than there was."""
        found = {}
        for name in self.__struct_fields__:
            now, then = getattr(self, name), getattr(before, name)
            if now is not None and then is not None and now > then:
                found[name] = now - then
        return found

    @property
    def unknown(self) -> list[str]:
        """What nobody could look at."""
        return [name for name in self.__struct_fields__ if getattr(self, name) is None]


async def look(place: Environment, devices: Sequence[str]) -> Traces:
    """Count. Raises psycopg.Error, redis.RedisError."""
    counts = [await _look(place, devices)]
    for _ in range(LOOKS - 1):
        await asyncio.sleep(LOOK_S)
        counts.append(await _look(place, devices))
    return Traces(**{name: _least(counts, name) for name in Traces.__struct_fields__})


async def gone(
    place: Environment, devices: Sequence[str], before: Traces, *, within_s: float
) -> tuple[Traces, float]:
    """Wait until nothing is beyond `before`; return what is left in the end and how long it took."""
    begun = clock()
    while True:
        now, took = await look(place, devices), clock() - begun
        if not now.beyond(before) or took > within_s:
            return now, took


def _least(counts: Sequence[Traces], name: str) -> int | None:
    known = [value for one in counts if (value := getattr(one, name)) is not None]
    return min(known) if known else None


async def _look(place: Environment, devices: Sequence[str]) -> Traces:
    rows = backends = None
    if place.database_url is not None:
        async with connected(place.database_url) as connection:
            rows = _number(await (await connection.execute(ROWS, [list(devices)])).fetchone())
            backends = _number(await (await connection.execute(BACKENDS)).fetchone())
    sessions = (await metrics.gauges(place.url)).get("sessions")
    return Traces(
        descriptors=_descriptors(place, backends),
        rows=rows,
        channels=await _channels(place.redis_url),
        sessions=None if sessions is None else int(sessions),
    )


def _number(row: tuple[Any, ...] | None) -> int | None:
    return int(row[0]) if row else None


def _descriptors(place: Environment, backends: int | None) -> int | None:
    total, seen = 0, False
    for process in place.server_processes():
        with suppress(psutil.Error):
            total, seen = total + process.num_fds(), True
    return total - backends if seen and backends is not None else None


async def _channels(redis_url: str | None) -> int | None:
    if redis_url is None:
        return None
    async with Redis.from_url(redis_url) as client:
        return len(await client.pubsub_channels())
