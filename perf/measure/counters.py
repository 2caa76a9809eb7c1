"""What one message costs, counted and not timed: statements, WAL, bus commands, bytes on the wire.

Such counts hardly differ from run to run, so a change of one is a change of the code. They are
exact when messages are sent one by one into an idle server; under load a transaction carries
many messages, and the counts say how well that is done. The server's background work (passes,
leases, heartbeats) goes on meanwhile: `idle` readings of an equally long silence are subtracted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from redis.asyncio import Redis

from perf.rig.database import Connection

STATEMENTS = """
SELECT left(regexp_replace(query, '\\s+', ' ', 'g'), 70), sum(calls)::bigint
  FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND query !~ 'pg_stat|pg_wal|pg_database|pg_settings|lockstep perf' GROUP BY 1
"""
# The position and not pg_stat_wal: that is up to a second old.
WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
OURS = {"info", "client", "hello", "ping"}  # commands of whoever looks


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Counters at one moment, or what came between two."""

    statements: Mapping[str, float] = {}
    wal_bytes: float = 0
    commands: Mapping[str, float] = {}
    bytes_received: float | None = None  # by the devices: what WebSocket frames carry

    def since(self, before: Reading) -> Reading:
        """What came after `before`."""
        known = self.bytes_received is not None and before.bytes_received is not None
        return Reading(
            statements=_rise(before.statements, self.statements),
            wal_bytes=self.wal_bytes - before.wal_bytes,
            commands=_rise(before.commands, self.commands),
            bytes_received=(self.bytes_received or 0) - (before.bytes_received or 0)
            if known
            else None,
        )


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table: how often something happened, and how often for each message."""

    what: str
    count: float
    per: str  # "message" or "delivery"
    each: float


async def read(
    connection: Connection, valkey: Redis | None = None, *, bytes_received: int | None = None
) -> Reading:
    """Read every counter that can be reached. Raises psycopg.Error, redis.RedisError."""
    row = await (await connection.execute(WAL)).fetchone() or (0,)
    calls = await (await connection.execute(STATEMENTS)).fetchall()
    facts: dict[str, Any] = await valkey.info("commandstats") if valkey is not None else {}
    commands = {name.removeprefix("cmdstat_"): float(one["calls"]) for name, one in facts.items()}
    return Reading(
        statements={str(text): float(count) for text, count in calls},
        wal_bytes=float(row[0]),
        commands={name: n for name, n in commands.items() if name.split("|")[0] not in OURS},
        bytes_received=bytes_received,
    )


def table(
    spent: Reading, *, messages: int, deliveries: int, idle: Reading | None = None
) -> list[Cost]:
    """The costs, totals first, then each statement and command that came at all. Empty without messages."""
    if not messages:
        return []
    quiet = idle or Reading()
    statements = _less(spent.statements, quiet.statements)
    commands = _less(spent.commands, quiet.commands)
    rows = [
        _cost("SQL statements", sum(statements.values()), messages),
        _cost("WAL bytes", max(spent.wal_bytes - quiet.wal_bytes, 0), messages),
        _cost("Valkey commands", sum(commands.values()), messages),
    ]
    if spent.bytes_received is not None and deliveries:
        rows.append(_cost("bytes on the wire", spent.bytes_received, deliveries, per="delivery"))
    rows += [_cost(f"SQL: {text}", count, messages) for text, count in _most(statements)]
    rows += [_cost(f"Valkey: {name}", count, messages) for name, count in _most(commands)]
    return rows


def _cost(what: str, count: float, among: int, *, per: str = "message") -> Cost:
    return Cost(what=what, count=count, per=per, each=round(count / among, 4))


def _rise(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: n - before.get(name, 0) for name, n in after.items() if n > before.get(name, 0)}


def _less(spent: Mapping[str, float], quiet: Mapping[str, float]) -> dict[str, float]:
    left = {name: count - quiet.get(name, 0) for name, count in spent.items()}
    return {name: count for name, count in left.items() if count > 0}


def _most(counts: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
