"""What pg_stat_statements says of the server's own statements between two moments.

It keeps count, sum and deviation of each statement, no distribution. Times of a statement are
close to log-normal, so the percentiles here are those of the log-normal distribution with the
same mean and deviation: good for comparing statements, no measurement. Their names say `about`.
"""

from __future__ import annotations

from contextlib import suppress
from math import exp, log, sqrt
from typing import NamedTuple

import psycopg

from perf.rig.database import Connection

# Whole statements of others; the rig's own look-ups are left out.
QUERY = """
SELECT queryid, left(regexp_replace(query, '\\s+', ' ', 'g'), 90), calls, total_exec_time, stddev_exec_time,
       max_exec_time
  FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND query !~ 'pg_stat|pg_logical_emit|lockstep perf'
"""
Z_P99 = 2.3263  # how many deviations of a normal distribution its 99th percentile is above the mean


class Moments(NamedTuple):
    """How many, their sum in ms, and the sum of their squares: what can be subtracted."""

    calls: int = 0
    total: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, calls: int, total: float, deviation: float) -> Moments:
        """From what the extension shows."""
        mean = total / calls if calls else 0.0
        return cls(calls, total, calls * (deviation**2 + mean**2))

    def since(self, before: Moments) -> Moments:
        """What came after `before`."""
        return Moments(
            self.calls - before.calls, self.total - before.total, self.squares - before.squares
        )

    def percentile(self, z: float) -> float:
        """The log-normal percentile that is `z` deviations above its median, in ms."""
        mean = self.total / self.calls
        variance = max(self.squares / self.calls - mean**2, 0.0)
        if mean <= 0:
            return 0.0
        spread = log(1 + variance / mean**2)
        return exp(log(mean) - spread / 2 + z * sqrt(spread))


class ServerStatements:
    """The statements of one database, between `begin` and `top`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._before: dict[int, Moments] | None = None

    async def begin(self) -> None:
        """Remember the counters. Without the extension nothing will be said."""
        with suppress(psycopg.Error):
            rows = await (await self._connection.execute(QUERY)).fetchall()
            self._before = {row[0]: Moments.of(*row[2:5]) for row in rows}

    async def top(self, count: int = 8) -> list[dict[str, str | int | float]]:
        """The statements that took most time since `begin`. Raises psycopg.Error."""
        if self._before is None:
            return []
        rows = await (await self._connection.execute(QUERY)).fetchall()
        found: list[dict[str, str | int | float]] = []
        for name, text, calls, total, deviation, slowest in rows:
            spent = Moments.of(calls, total, deviation).since(self._before.get(name, Moments()))
            if spent.calls > 0:
                found.append(_row(str(text), spent, float(slowest)))
        return sorted(found, key=lambda one: -float(one["total_ms"]))[:count]


def _row(text: str, spent: Moments, slowest: float) -> dict[str, str | int | float]:
    return {
        "statement": text,
        "calls": spent.calls,
        "mean_ms": round(spent.total / spent.calls, 3),
        "about_p50_ms": round(spent.percentile(0), 3),
        "about_p99_ms": round(spent.percentile(Z_P99), 3),
        "total_ms": round(spent.total, 1),
        "max_ms_ever": round(slowest, 3),
    }
