"""What PostgreSQL and Valkey say of themselves, second by second, on connections of the rig's own.

Counters are given as what came since the last look; states as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from statistics import median
from time import perf_counter
from typing import Any

import psutil
import psycopg
from redis.asyncio import Redis

from perf.rig.database import Connection

# One round trip a second. The rig's own backends are left out by their application's name.
COUNTERS = """
SELECT d.xact_commit AS commits, d.xact_rollback AS rollbacks,
       d.tup_returned AS rows_read, d.tup_inserted AS rows_inserted, d.tup_updated AS rows_updated,
       d.tup_deleted AS rows_deleted, d.blks_hit AS blocks_hit, d.blks_read AS blocks_read,
       d.deadlocks, d.temp_bytes, w.wal_bytes, w.wal_records, w.wal_fpi AS wal_full_pages
  FROM pg_stat_database d, pg_stat_wal w WHERE d.datname = current_database()
"""
STATES = """
SELECT count(*) FILTER (WHERE state = 'active') AS backends_active,
       count(*) FILTER (WHERE state = 'idle') AS backends_idle,
       count(*) FILTER (WHERE state LIKE 'idle in transaction%%') AS backends_in_transaction,
       count(*) FILTER (WHERE wait_event_type = 'Lock') AS lock_waits,
       count(*) FILTER (WHERE wait_event_type = 'IO' AND wait_event LIKE 'W%%') AS wal_waits,
       count(*) AS backends
  FROM pg_stat_activity
 WHERE datname = current_database() AND backend_type = 'client backend'
   AND application_name <> 'lockstep perf'
"""
SYNCS = "SELECT sum(fsyncs)::bigint AS wal_syncs FROM pg_stat_io WHERE object = 'wal'"
HAS_SYNCS = 180_000  # from PostgreSQL 18 on pg_stat_io knows the WAL

VALKEY = {
    "connected_clients": "clients",
    "blocked_clients": "blocked_clients",
    "pubsub_channels": "channels",
    "pubsub_patterns": "patterns",
    "client_recent_max_output_buffer": "largest_output_buffer_bytes",
}
VALKEY_COUNTERS = {
    "total_commands_processed": "commands",
    "total_net_input_bytes": "bytes_in",
    "total_net_output_bytes": "bytes_out",
    "evicted_keys": "evicted",
    "rejected_connections": "rejected",
}


class Since:
    """Turns counters into what came since the last look."""

    def __init__(self) -> None:
        self._before: Mapping[str, float] = {}

    def __call__(self, now: Mapping[str, float]) -> dict[str, float]:
        """The differences; nothing at the first look. A counter that was reset begins at 0."""
        before, self._before = self._before, now
        return {name: max(value - before[name], 0) for name, value in now.items() if name in before}


class PostgresLook:
    """A source for `Series`: commits, rows, WAL, backends by state, who waits for what."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._since = connection, Since()

    async def __call__(self) -> dict[str, float]:
        """Ask. Raises psycopg.Error."""
        counted = await self._row(COUNTERS)
        if self._connection.info.server_version >= HAS_SYNCS:
            counted |= await self._row(SYNCS)
        found = self._since(counted)
        touched = found.get("blocks_hit", 0) + found.get("blocks_read", 0)
        if touched:
            found["cache_hit_percent"] = round(100 * found["blocks_hit"] / touched, 2)
        found |= await self._row(STATES)
        return {f"postgres.{name}": value for name, value in found.items()}

    async def _row(self, query: str) -> dict[str, float]:
        cursor = await self._connection.execute(query)
        row = await cursor.fetchone() or ()
        names = [column.name for column in cursor.description or ()]
        return {name: float(value or 0) for name, value in zip(names, row, strict=False)}


class ValkeyLook:
    """A source for `Series`: commands, clients, memory, subscriptions."""

    def __init__(self, client: Redis) -> None:
        self._client, self._since = client, Since()

    async def __call__(self) -> dict[str, float]:
        """Ask. Raises redis.RedisError."""
        facts: dict[str, Any] = await self._client.info()
        found = self._since(_named(facts, VALKEY_COUNTERS)) | _named(facts, VALKEY)
        found["memory_mb"] = round(float(facts.get("used_memory", 0)) / 2**20, 2)
        return {f"valkey.{name}": value for name, value in found.items()}


def _named(facts: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, float]:
    return {name: float(facts[theirs]) for theirs, name in names.items() if theirs in facts}


async def valkey_pid(client: Redis) -> int | None:
    """Valkey's process, if it is of this machine: asked over a Unix socket or loopback, and in no container."""
    place = client.connection_pool.connection_kwargs
    local = "path" in place or place.get("host") in {"localhost", "127.0.0.1", "::1"}
    if not local:
        return None
    facts: dict[str, Any] = await client.info("server")
    with suppress(KeyError, psutil.Error):  # a container's number is somebody else's here
        process = psutil.Process(int(facts["process_id"]))
        if any(name in process.name() for name in ("valkey", "redis")):
            return process.pid
    return None


async def fsync_ms(connection: Connection, *, tries: int = 20) -> float | None:
    """The median time in ms of a commit that writes a few bytes: what the disk takes to be sure.

    None if the database refuses. The commit does nothing else: a message of the WAL that nobody reads.
    """
    times = []
    try:
        for _ in range(tries):
            began = perf_counter()
            await connection.execute("SELECT pg_logical_emit_message(true, 'lockstep perf', 'x')")
            times.append(perf_counter() - began)
    except psycopg.Error:
        return None
    return median(times) * 1000
