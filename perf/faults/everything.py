"""The lights go out: kill -9 of both servers, PostgreSQL and Valkey in one moment, and all is started again."""

from __future__ import annotations

from perf.faults import processes
from perf.faults.fault import Fault
from perf.rig.server import Server


class EverythingKill(Fault):
    """What was acknowledged before must be stored after (G1)."""

    name = "everything-kill"
    what = "kill -9 of both servers, PostgreSQL and Valkey at once, then all are started again"
    hold_s = (1.0, 2.0)
    begun = False

    async def begin(self) -> None:
        """Kill all of it."""
        pids = await self.site.kept.revive()
        servers = [one.pid for server in self._servers for one in server.family()[:1]]
        self.begun = True
        processes.kill([pids.postgres, pids.valkey, *servers])

    async def end(self) -> None:
        """Start all of it, the services first."""
        if self.begun:
            await self.site.kept.revive()
            for server in self._servers:
                await server.stop()
                await server.start()

    async def felt(self) -> dict[str, float]:
        """Everybody lost their connection."""
        return self.met("lost connections")

    @property
    def _servers(self) -> list[Server]:
        return [self.site.environment.servers[0], self.site.victim]
