"""Faults of a host: the second server has a network of its own, and is cut off from all others, or dies meanwhile.

Its clients, PostgreSQL and Valkey are reached over a real network then; nobody is told of the cut by anything but silence.
"""

from __future__ import annotations

from collections.abc import Iterable

from perf.faults.fault import NOTICED_S, Fault, Silence
from perf.rig.children import RigError
from perf.rig.hosts import Host


class HostCut(Fault):
    """The network of the host is silent for a while."""

    name = "host-cut"
    what = "the second server is a host of its own, and no packet reaches or leaves it"
    hold_s = (8.0, 14.0)
    behind = 0.0
    _cut = False

    async def begin(self) -> None:
        """Cut it off."""
        self._host.cut()
        self._cut = True

    async def end(self) -> None:
        """Join it again."""
        if self._cut:
            self._host.join()
            self._cut = False

    async def felt(self) -> dict[str, float]:
        """Its devices fell behind the others, or lost their connections."""
        self.behind = max(self.behind, self.site.behind())
        return {"devices behind": self.behind, **self.met("lost connections")}

    def silences(self) -> Iterable[Silence]:
        """Its devices. TCP waits twice as long before each time that it sends again (RFC 6298, 5.5): so what got lost
        comes at the latest when it is over for as long as it lasted."""
        yield Silence(
            devices=self.site.far.devices,
            untold=True,
            unheard=True,
            lost=True,
            lasts_s=lambda lasted: 2 * lasted,
        )

    @property
    def _host(self) -> Host:
        if self.site.ground.host is None:
            raise RigError(f"{self.name} needs a host of its own for the second server")
        return self.site.ground.host


class HostLost(HostCut):
    """The host loses power: nobody is told, and what comes back knows of nothing."""

    name = "host-lost"
    what = "the second server's host loses power: silence, kill -9 of all of it, and later it starts anew"
    ends_servers = True

    async def begin(self) -> None:
        """Cut it off first, so that no FIN and no RST gets out."""
        await super().begin()
        await self.site.victim.kill()

    def silences(self) -> Iterable[Silence]:
        """Its devices: no connection of theirs goes on, and nobody tells them."""
        yield Silence(
            devices=self.site.far.devices,
            untold=True,
            unheard=True,
            lost=True,
            lasts_s=lambda _: NOTICED_S,
        )

    async def end(self) -> None:
        """Switch it on."""
        was_cut = self._cut
        await super().end()
        if was_cut:
            await self.site.victim.start()
