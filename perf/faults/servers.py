"""Faults of server processes: killed, stopped for longer than their lease, restarted under load."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

import psutil

from perf.faults.fault import Fault, Silence
from perf.rig.server import Server


class ServerKill(Fault):
    """kill -9; the supervisor has another process take its place."""

    name = "server-kill"
    what = "kill -9 of a server process; its supervisor has another one take its place"
    hold_s = (0.0, 0.0)
    lasting = False
    ends_servers = True

    async def prepare(self) -> None:
        """Its spare process is loaded some ten seconds after the start."""
        await self.site.victim.until_spare()

    async def begin(self) -> None:
        """Kill it."""
        for process in self.site.victim.workers():
            process.kill()

    async def end(self) -> None:
        """Nothing: the supervisor does it."""

    async def felt(self) -> dict[str, float]:
        """Its devices lost their connections."""
        return self.met("lost connections")


class ServerPause(Fault):
    """SIGSTOP for longer than the lease, then SIGCONT."""

    name = "server-pause"
    what = "SIGSTOP of a server process for longer than its lease of 6 s, then SIGCONT"
    hold_s = (7.0, 10.0)

    async def begin(self) -> None:
        """Stop it."""
        self.behind = 0.0
        self._stopped = self.site.victim.workers()
        for process in self._stopped:
            process.suspend()

    async def end(self) -> None:
        """Let it go on."""
        for process in getattr(self, "_stopped", []):
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def silences(self) -> Iterable[Silence]:
        """Its devices: it tells them nothing, and hears of none of them."""
        yield Silence(devices=self.site.far.devices, untold=True, unheard=True)

    async def felt(self) -> dict[str, float]:
        """Its devices fell behind the others', or lost their connections."""
        self.behind = max(self.behind, self.site.behind())
        return {"devices behind": self.behind, **self.met("lost connections")}


class ServerRestart(Fault):
    """SIGTERM and start, one server after the other."""

    name = "server-restart"
    what = "rolling restart: SIGTERM and start of one server after the other, under load"
    hold_s = (0.0, 0.0)
    lasting = False
    ends_servers = True

    async def begin(self) -> None:
        """Restart both."""
        for server in (self.site.victim, self.site.environment.servers[0]):
            await _restart(server)

    async def end(self) -> None:
        """Nothing: both run again."""

    async def felt(self) -> dict[str, float]:
        """Devices were sent away."""
        return self.met("lost connections")


async def _restart(server: Server) -> None:
    await server.stop()
    await server.start()
    await asyncio.sleep(0)
