"""Commits that do not end: PostgreSQL waits for a standby that does not exist, and nobody may see what it waits for.

With `synchronous_standby_names` set, a commit has written its record but is not over: its rows are visible to
no other transaction until the standby answers, or until the setting is taken back
(https://www.postgresql.org/docs/current/warm-standby.html#SYNCHRONOUS-REPLICATION). Nothing of the
server is touched, so whoever tells of such a row has told of what might still be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from perf.history.testimony import clock
from perf.rig.children import RigError
from perf.rig.database import Connection, connected

LOOK_S = 0.005
WITHIN_S = 5.0
HOLD = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'"
LET_GO = "ALTER SYSTEM RESET synchronous_standby_names"
RELOAD = "SELECT pg_reload_conf()"
COMMIT = "SELECT pg_logical_emit_message(true, 'perf', 'does this commit wait?')"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND (pid = %(ours)s) = %(is_ours)s"
VISIBLE = "SELECT count(*) FROM messaging_message WHERE body = ANY (%s)"


class HeldCommits:
    """While no commit ends. `probe` is a session whose own commit waits, which shows that they do."""

    def __init__(self, look: Connection, probe: Connection) -> None:
        self._look, self._probe = look, probe

    async def begin(self) -> asyncio.Task[object]:
        """Commit until it waits: processes take a setting up when they come to it. Raises RigError."""
        deadline = clock() + WITHIN_S
        while clock() < deadline:
            commit: asyncio.Task[object] = asyncio.ensure_future(self._probe.execute(COMMIT))
            while not commit.done():
                if await self._waits(is_ours=True):
                    return commit
                await asyncio.sleep(LOOK_S)
            await commit
        raise RigError(f"commits could not be held within {WITHIN_S:.0f} s")

    async def waiting(self) -> bool:
        """Wait until a commit of somebody else waits. Returns whether that came."""
        deadline = clock() + WITHIN_S
        while not await self._waits(is_ours=False):
            if clock() > deadline:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    async def visible(self, bodies: Sequence[str]) -> int:
        """How many messages with these bodies another transaction sees."""
        return await self._number(VISIBLE, [list(bodies)])

    async def _waits(self, *, is_ours: bool) -> bool:
        facts = {"ours": self._probe.info.backend_pid, "is_ours": is_ours}
        return bool(await self._number(WAITING, facts))

    async def _number(self, statement: str, facts: Any) -> int:
        row = await (await self._look.execute(statement, facts)).fetchone()
        return int(row[0]) if row else 0


@asynccontextmanager
async def held_commits(url: str) -> AsyncIterator[HeldCommits]:
    """No commit ends for the time inside. Raises psycopg.Error, RigError."""
    async with connected(url) as look, connected(url) as probe:
        held = HeldCommits(look, probe)
        await look.execute(HOLD)
        await look.execute(RELOAD)
        try:
            commit = await held.begin()
            yield held
        finally:
            await look.execute(LET_GO)
            await look.execute(RELOAD)
        await commit
