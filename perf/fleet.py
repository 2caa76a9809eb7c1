"""Many devices in this process: connected a few at a time, waited for, and sent home.

One process on uvloop carries hundreds of devices and hundreds of thousands of deliveries a second
on a part of one core, so there is no second one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from perf.accounts import Account
from perf.device import ConnectFailed, Device
from perf.history.recorder import Recorder
from perf.history.testimony import Testimony, clock
from perf.observer import Observer
from perf.surroundings import Surroundings
from perf.wire import Pages

AT_ONCE = 10  # connections under way at a time: a crowd, no flood
LOOK_S = 0.005  # how often a wait looks


class FleetError(Exception):
    """The fleet can't do what was asked; the text says why."""


async def until(done: Callable[[], bool], *, within_s: float) -> bool:
    """Wait for something that nobody announces. Returns whether it came."""
    deadline = clock() + within_s
    while not done():
        if clock() > deadline:
            return False
        await asyncio.sleep(LOOK_S)
    return True


class Fleet:
    """The devices of a run, which tell `recorder` what they see. `url` is the server's http address."""

    def __init__(
        self, *, url: str, recorder: Recorder, observer: Observer, reads: bool = False
    ) -> None:
        self.url, self.recorder = url, recorder
        self.devices: list[Device] = []
        self.connect_s: list[float] = []
        self.failures: list[str] = []
        self._around = Surroundings(
            url=url, recorder=recorder, observer=observer, pages=Pages(recorder), reads=reads
        )
        self.history = self._around.history

    def observe(self, observer: Observer) -> None:
        """Tell another observer from now on."""
        self._around.observer = observer

    async def connect(self, accounts: Sequence[Account], *, starts: Mapping[str, int]) -> None:
        """Connect a device for every account, with the cursors `starts` of its conversations.

        A failed connection is counted in `failures`. Raises FleetError if all failed.
        """
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(account: Account) -> Device | None:
            async with slots:
                return await self.attempt(account, starts=starts)

        found = await asyncio.gather(*(one(account) for account in accounts))
        self.devices.extend(device for device in found if device is not None)
        if not self.devices:
            raise FleetError(f"no device could connect to {self.url}: {self.failures[0]}")

    async def attempt(self, account: Account, *, starts: Mapping[str, int]) -> Device | None:
        """Connect one device and time it; None if it failed."""
        known = {name: starts[name] for name in account.conversations if name in starts}
        testimony = Testimony(self.recorder, device=account.device, user=account.user)
        device = Device(account, self._around, testimony, starts=known)
        self.history.logs[account.device] = device.log
        return device if await self.open(device) else None

    async def open(self, device: Device) -> bool:
        """Connect a device, or connect it again, and time it. Returns whether that worked."""
        try:
            self.connect_s.append(await device.connect())
        except ConnectFailed as error:
            self.failures.append(str(error))
            return False
        return True

    def members(self) -> dict[str, list[Device]]:
        """The devices of each conversation."""
        found: dict[str, list[Device]] = {}
        for device in self.devices:
            for conversation in device.account.conversations:
                found.setdefault(conversation, []).append(device)
        return found

    @property
    def pending(self) -> int:
        """Sends without an answer."""
        return sum(len(device.pending) for device in self.devices)

    def behind(self) -> int:
        """How many cursors are not where the furthest device of their conversation is."""
        count = 0
        for conversation, devices in self.members().items():
            cursors = [device.client.cursors.get(conversation, 0) for device in devices]
            count += sum(cursor != max(cursors) for cursor in cursors)
        return count

    async def quiesce(self, *, within_s: float) -> bool:
        """Wait until every send is answered and every device is level. Returns whether that came."""
        return await until(lambda: not self.pending and not self.behind(), within_s=within_s)

    def disconnect(self) -> None:
        """Have every device say where it is, and close every socket."""
        for device in self.devices:
            device.testify()
            device.leave()
