"""Everyone in a presence run: who comes and goes on two servers, and what all the others are shown of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from perf.load.device import Device
from perf.load.fleet import Fleet
from perf.load.generator import Generator
from perf.measure.latency import Latency
from perf.rig.accounts import Account
from perf.rig.server import Server
from perf.scenario import Stage
from perf.scenarios.parts.sightings import Sightings, Wanted

SEEN_S = 10.0  # patience with what should take 50 ms
QUIET_S = 0.5  # what is not shown in so long after it may have been, is not shown


@dataclass(kw_only=True)
class Onlookers:
    """One run's parts. `near` are the devices on the first server, `far` those on the second."""

    stage: Stage
    far_server: Server
    near: Fleet
    far: Fleet
    crowd: Fleet
    sightings: Sightings
    storm: Sequence[Account]
    generator: Generator = field(default_factory=Generator)
    shown: dict[str, Latency] = field(default_factory=dict)  # by what was to be seen
    offline: Latency = field(default_factory=Latency)  # beyond what is waited
    killed_s: list[float] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    checks: dict[str, tuple[int, int]] = field(default_factory=dict)  # how often checked, and held

    @property
    def pairs(self) -> list[tuple[Device, Device]]:
        """Each user's devices: on the first server, on the second."""
        others = {device.account.user: device for device in self.far.devices}
        return [(device, others[device.account.user]) for device in self.near.devices]

    def watchers(self, user: str) -> list[Device]:
        """The devices of the others in the user's conversation that are online."""
        everyone = [*self.near.devices, *self.far.devices]
        room = next(one.account.conversations for one in everyone if one.account.user == user)
        others = [one for one in everyone if one.online and one.account.user != user]
        return [one for one in others if one.account.conversations == room]

    async def seen(
        self, name: str, user: str, wanted: Wanted, *, cause: Any, by: Sequence[Device] = ()
    ) -> None:
        """Do something (`cause` returns when it was), and time how long until all are shown it."""
        watchers = list(by) or self.watchers(user)
        expected = self.sightings.expect(user, watchers, wanted)
        since = await cause()
        await self.timed(expected, since, self.shown.setdefault(name, Latency()), name)

    async def timed(self, expected: Any, since: float, latency: Latency, name: str) -> None:
        """Note how long after `since` each device was shown what is expected."""
        if not await expected.met(within_s=SEEN_S):
            self.broken.append(f"{name} was not shown to {len(expected.missing)} devices")
        for moment in expected.seen.values():
            latency.record(moment - since)

    async def unseen(self, name: str, user: str, work: Any, *, quiet_s: float = QUIET_S) -> None:
        """Do something that nobody must be shown."""
        before = self.sightings.changes_of(user)
        await work()
        await asyncio.sleep(quiet_s)  # it is the absence of a frame that is looked for
        self.check(f"not shown: {name}", held=self.sightings.changes_of(user) == before)

    def check(self, name: str, *, held: bool) -> None:
        """Note that something was looked at, and whether it was so."""
        checked, times = self.checks.get(name, (0, 0))
        self.checks[name] = (checked + 1, times + held)
