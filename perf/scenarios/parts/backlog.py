"""Conversations that fill up while some of their members are away, and the way of these back to level."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.fleet import Fleet, until
from perf.load.observer import Sent, Troubles
from perf.load.workload import body
from perf.measure.latency import Latency
from perf.measure.meter import Meter

LENGTH = 100  # characters of a message
AT_ONCE = 20  # devices that are connecting at a time
FIRST_WAIT_S, LONGEST_WAIT_S = (
    0.5,
    4.0,
)  # before a device tries again to connect: doubled, with jitter


class Filling(Troubles):
    """A closed loop with an end: each device sends so many messages, some of them unanswered at a time."""

    def __init__(self, meter: Meter, *, each: int, outstanding: int) -> None:
        super().__init__()
        self.stored = 0
        self._meter = meter
        self._each, self._outstanding = each, outstanding
        self._left: dict[int, int] = {}
        self._number = 0

    async def run(self, devices: Sequence[Device], *, within_s: float) -> bool:
        """Have these devices send. Returns whether everything was answered in time."""
        for device in devices:
            self._left[device.number] = self._each
            for _ in range(min(self._outstanding, self._each)):
                self._send(device)
            device.flush()
        wanted = self.stored + self._each * len(devices)
        return await until(lambda: self.stored >= wanted, within_s=within_s)

    def acked(self, device: Device, sent: Sent, now: float) -> None:
        """Count the answer and send the next message, if there is one left."""
        self.stored += 1
        self._meter.count("load.acked")
        self._send(device)

    def _send(self, device: Device) -> None:
        left = self._left.get(device.number, 0)
        if left:
            self._left[device.number] = left - 1
            self._number += 1
            device.send(device.account.conversations[0], body(LENGTH, self._number))


@dataclass(kw_only=True)
class Homecoming:
    """The way back of devices that missed something: for each the time until it is level.

    `goals` says which change of its conversation each device has to reach. All come as soon as they
    are let in, with AT_ONCE connecting at a time (more would give up and begin again, which is the
    business of `stress connection-flood`); or `rate` a second, timed from the intended moment.
    """

    fleet: Fleet
    goals: Mapping[str, int]
    within_s: float
    seed: int
    rate: float | None = None
    level: Latency = field(default_factory=Latency)
    welcome: Latency = field(default_factory=Latency)
    repeats: int = 0
    began: float = 0.0
    ended: float = 0.0

    @property
    def seconds(self) -> float:
        """From the first return until the last device was level."""
        return self.ended - self.began

    async def run(self, devices: Sequence[Device]) -> int:
        """Bring them back. Returns how many are not level in time."""
        dice, slots = Random(self.seed), asyncio.Semaphore(AT_ONCE)
        self.began = self.ended = clock()
        moments = [
            self.began + number / self.rate if self.rate else None for number in range(len(devices))
        ]
        late = await asyncio.gather(
            *(
                self._return(device, moment, slots, dice)
                for device, moment in zip(devices, moments, strict=True)
            )
        )
        return sum(late)

    async def _return(
        self, device: Device, intended: float | None, slots: asyncio.Semaphore, dice: Random
    ) -> bool:
        """Bring one back; return whether it is late."""
        conversation = device.account.conversations[0]
        try:
            async with asyncio.timeout(self.within_s):
                begun = await self._let_in(device, intended, slots, dice)
                self.welcome.record(max(device.since - begun, 0.0))
                reached = await device.reach(conversation, self.goals[conversation])
        except TimeoutError:
            return True
        self.level.record(max(reached - begun, 0.0))
        self.ended = max(self.ended, reached)
        return False

    async def _let_in(
        self, device: Device, intended: float | None, slots: asyncio.Semaphore, dice: Random
    ) -> float:
        """Connect at the intended moment, or when it is the device's turn; return when that was."""
        if intended is not None:
            await asyncio.sleep(max(intended - clock(), 0))
            await self._connect(device, dice)
            return intended
        async with slots:
            begun = clock()
            await self._connect(device, dice)
            return begun

    async def _connect(self, device: Device, dice: Random) -> None:
        wait = FIRST_WAIT_S
        while not await self.fleet.open(device):
            self.repeats += 1
            await asyncio.sleep(wait * dice.uniform(0.5, 1.0))
            wait = min(2 * wait, LONGEST_WAIT_S)
