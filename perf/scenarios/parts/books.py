"""What database and server count by themselves: commits, WAL, batches, statement times; and what a message took of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec

from perf.measure import metrics
from perf.rig.database import Connection

REPORTED_S = 1.1  # PostgreSQL's backends report what they counted once a second
COUNTED = """
SELECT d.xact_commit::float8, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8
  FROM pg_stat_database d WHERE d.datname = current_database()
"""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One phase: messages a second, ms, and what a message cost. `held` is the conversation that is locked in the last."""

    phase: str
    achieved: float
    p50: float | None
    p99: float | None
    held_p99: float | None
    server_statements_p99: float | None
    own_connection_p99: float | None
    commits_per_message: float | None
    batches_per_message: float | None
    wal_bytes_per_message: float | None
    connections: int
    lock_waits: int
    server_cpu: float | None
    postgres_cpu: float | None
    late_p99: float | None


@dataclass(frozen=True, kw_only=True)
class Books:
    """What database and server have counted so far."""

    commits: float
    wal_bytes: float
    batches: float | None
    served: metrics.Buckets

    def since(self, before: Books, *, messages: int) -> dict[str, float | None]:
        """What came after `before`, for each message, and the server's statement times meanwhile."""
        each = max(messages, 1)
        known = self.batches is not None and before.batches is not None
        batches = (self.batches or 0) - (before.batches or 0) if known else None
        served = metrics.merged(metrics.since(before.served, self.served))
        return {
            "server_statements_p99": metrics.percentile_ms(served, 99),
            "commits_per_message": round((self.commits - before.commits) / each, 3),
            "batches_per_message": None if batches is None else round(batches / each, 3),
            "wal_bytes_per_message": round((self.wal_bytes - before.wal_bytes) / each),
        }


async def read(connection: Connection, url: str, *, reported_s: float = REPORTED_S) -> Books:
    """Read them, after a wait for what is not reported yet. Raises psycopg.Error."""
    await asyncio.sleep(reported_s)
    row = await (await connection.execute(COUNTED)).fetchone() or (0, 0)
    return Books(
        commits=float(row[0]),
        wal_bytes=float(row[1]),
        batches=(await metrics.counters(url)).get("batches"),
        served=await metrics.statement_buckets(url),
    )
