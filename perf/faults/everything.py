"""The lights go out: kill -9 of both servers, PostgreSQL and Valkey in one moment, and all is started again.

Before any server runs again, PostgreSQL alone is asked for every message that was acknowledged before the
kill: no client can have brought it back by then. (The machine itself goes on: what its kernel holds is kept.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from perf.faults import processes
from perf.faults.cluster import connect
from perf.faults.fault import Fault
from perf.rig.server import Server

STORED = "SELECT client_id FROM messaging_message WHERE client_id = ANY (%s)"


class EverythingKill(Fault):
    """What was acknowledged before must be stored after (G1)."""

    name = "everything-kill"
    what = "kill -9 of both servers, PostgreSQL and Valkey at once, then all are started again"
    hold_s = (1.0, 2.0)
    ends_servers = True
    begun = False

    async def begin(self) -> None:
        """Kill all of it."""
        pids = await self.site.kept.revive()
        servers = [one.pid for server in self._servers for one in server.family()[:1]]
        self.begun = True
        self._promised = set(self.site.promised)
        processes.kill([pids.postgres, pids.valkey, *servers])

    async def end(self) -> None:
        """Start all of it, the services first, and look what they have kept."""
        if self.begun:
            await self.site.kept.revive()
            await self._compare()
            await asyncio.gather(*map(_restart, self._servers))

    async def felt(self) -> dict[str, float]:
        """Everybody lost their connection."""
        return self.met("lost connections")

    async def _compare(self) -> None:
        lost = await missing(self.site.database_url, self._promised)
        self.checked = len(self._promised)
        if lost or not self._promised:
            self.broken.append(
                f"{len(lost)} of {len(self._promised)} messages that were acknowledged before the kill "
                f"are not in the database after it: {', '.join(sorted(lost)[:3])}"
            )

    @property
    def _servers(self) -> list[Server]:
        return [self.site.environment.servers[0], self.site.victim]


async def _restart(server: Server) -> None:
    await server.stop()
    await server.start()


async def missing(url: str, promised: Collection[str]) -> set[str]:
    """Those of these client_ids that no stored message has. Raises psycopg.Error."""
    async with await connect(url) as connection:
        rows = await (await connection.execute(STORED, [list(promised)])).fetchall()
    return set(promised) - {row[0] for row in rows}
