"""Faults of PostgreSQL: killed, stopped, restarted, full, read-only, and a lock on hot rows."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import psycopg

from perf.faults import processes
from perf.faults.cluster import OURS, connect, stop
from perf.faults.fault import Fault
from perf.load.fleet import until
from perf.rig.database import Connection

TAKERS = 16  # connections under way at a time, to be faster than the servers' own attempts
FULL_S = 20.0
# Backends of the servers are found by their application's name: `lockstep serve 1` and the like.
END_SERVERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> %s"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name <> %s"
HOLD = "SELECT id FROM messaging_conversation WHERE id = ANY (%s::uuid[]) ORDER BY id FOR UPDATE"


class Unserved(Fault):
    """A fault that makes writes impossible: requests stay unanswered, or are refused."""

    worst = 0.0

    async def felt(self) -> dict[str, float]:
        """Requests that wait longer than a commit takes, or were told to come again."""
        self.worst = max(self.worst, self.site.unanswered())
        return {"unanswered requests": self.worst, **self.met("refusals")}


class PostgresKill(Unserved):
    """kill -9 of the postmaster and all its backends; the rig starts it again."""

    name = "postgres-kill"
    what = "kill -9 of PostgreSQL, postmaster and backends, started again when the fault ends"

    async def begin(self) -> None:
        """Kill it."""
        processes.kill([(await self.site.kept.revive()).postgres])

    async def end(self) -> None:
        """Start it: it recovers from its WAL."""
        await self.site.kept.revive()


class PostgresPause(Unserved):
    """SIGSTOP of all of its processes, then SIGCONT."""

    name = "postgres-pause"
    what = "SIGSTOP of all processes of PostgreSQL, then SIGCONT"
    hold_s = (6.0, 14.0)
    pid: int | None = None

    async def begin(self) -> None:
        """Stop them."""
        self.pid = (await self.site.kept.revive()).postgres
        processes.suspend(self.pid)

    async def end(self) -> None:
        """Let them go on."""
        if self.pid is not None:
            processes.resume(self.pid)


class PostgresRestart(Unserved):
    """SIGINT (a fast shutdown), and start."""

    name = "postgres-restart"
    what = (
        "fast restart of PostgreSQL: every connection is ended, a checkpoint written, and it starts"
    )
    hold_s = (1.5, 2.5)

    async def begin(self) -> None:
        """End it and wait until it has."""
        await stop(self.site.kept)

    async def end(self) -> None:
        """Start it."""
        await self.site.kept.revive()


class PostgresFull(Unserved):
    """All connections are taken by others, and the servers' own are ended."""

    name = "postgres-full"
    what = "max_connections used up by others, and every connection of the servers ended"
    hold_s = (4.0, 8.0)

    async def begin(self) -> None:
        """Take all that there are, end the servers', and take those."""
        self._taken: list[Connection] = []
        self.refused = 0.0
        self._over = False
        self._admin = await connect(self.site.database_url)
        self._takers = [asyncio.create_task(self._take()) for _ in range(TAKERS)]
        await until(lambda: self.refused > 0, within_s=FULL_S)
        await self._admin.execute(END_SERVERS, [OURS])

    async def _take(self) -> None:
        while not self._over:
            try:
                self._taken.append(await connect(self.site.database_url))
            except psycopg.OperationalError:
                self.refused += 1
                await asyncio.sleep(0.02)

    async def end(self) -> None:
        """Give all back."""
        self._over = True
        await asyncio.gather(*getattr(self, "_takers", []))
        for one in [*getattr(self, "_taken", []), *filter(None, [getattr(self, "_admin", None)])]:
            await one.close()


class PostgresReadOnly(Unserved):
    """Every new transaction is read-only, as on a standby that was not promoted."""

    name = "postgres-readonly"
    what = "default_transaction_read_only by ALTER SYSTEM and a reload"
    hold_s = (4.0, 8.0)

    async def begin(self) -> None:
        """Change the setting."""
        await self._set("ALTER SYSTEM SET default_transaction_read_only = on")

    async def end(self) -> None:
        """Change it back."""
        await self._set("ALTER SYSTEM RESET default_transaction_read_only")

    async def _set(self, statement: str) -> None:
        async with await connect(self.site.database_url) as connection:
            await connection.execute("SET default_transaction_read_only = off")
            await connection.execute(statement)
            await connection.execute("SELECT pg_reload_conf()")


class Lock(Fault):
    """A transaction that holds the rows of every busy conversation."""

    name = "lock"
    what = "a foreign transaction holds the rows of all busy conversations for 10 s"
    hold_s = (10.0, 10.0)
    waited = 0.0
    _holder: Connection | None = None

    async def begin(self) -> None:
        """Lock them."""
        self._holder = await connect(self.site.database_url)
        await self._holder.execute("BEGIN")
        await self._holder.execute(HOLD, [list(self.site.conversations)])

    async def end(self) -> None:
        """Let them go."""
        holder, self._holder = self._holder, None
        if holder is not None:
            with suppress(psycopg.Error):
                await holder.execute("ROLLBACK")
            await holder.close()

    async def felt(self) -> dict[str, float]:
        """Requests were told that the conversation is busy, or transactions wait."""
        async with await connect(self.site.database_url) as connection:
            row = await (await connection.execute(WAITING, [OURS])).fetchone()
        self.waited = max(self.waited, float(row[0] if row else 0))
        return {"waiting transactions": self.waited, **self.met("refusals")}
