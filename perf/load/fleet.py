"""Many devices in this process: connected a few at a time or at a rate, waited for, and sent home.

One process on uvloop carries thousands of devices and hundreds of thousands of deliveries a second
on a part of one core. What goes beyond its limit of open files is a `Crew`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from perf.history.recorder import Recorder
from perf.history.testimony import Testimony, clock
from perf.load.device import ConnectFailed, Device
from perf.load.observer import Observer
from perf.load.surroundings import Surroundings
from perf.load.wire import Pages
from perf.rig.accounts import Account
from perf.rig.limits import file_limit

AT_ONCE = 10  # connections under way at a time: a crowd, no flood
RESERVE = 500  # of a process's open files: what is no device
LEAST = 100  # devices of a process: below, there would be thousands of processes
PER_ADDRESS = 20_000  # connections from one local address: Linux has 28,000 ports to give
LOOK_S = 0.005  # how often a wait looks
LOOK_DEVICE_S = 20e-6  # and for each device that it looks at: some percent of a core


class FleetError(Exception):
    """The fleet can't do what was asked; the text says why."""


async def until(done: Callable[[], bool], *, within_s: float, look_s: float = LOOK_S) -> bool:
    """Wait for something that nobody announces. Returns whether it came."""
    deadline = clock() + within_s
    while not done():
        if clock() > deadline:
            return False
        await asyncio.sleep(look_s)
    return True


def room() -> int:
    """How many devices a process may have: by its limit of open files, and by the ports of its local address."""
    return max(min(file_limit() - RESERVE, PER_ADDRESS), 1)


def workers_for(devices: int) -> int:
    """How many processes so many devices need. Raises FleetError where each could have next to none."""
    if devices > 0 and room() < LEAST:
        raise FleetError(
            f"a process may open {file_limit():,} files, of which {RESERVE} are no device: allow at least "
            f"{RESERVE + LEAST} (`ulimit -Hn`)"
        )
    return -(-max(devices, 0) // room())


class Fleet:
    """The devices of a run, which tell `recorder` what they see. `url` is the server's http address."""

    def __init__(
        self, *, url: str, recorder: Recorder, observer: Observer, reads: bool = False
    ) -> None:
        self.url, self.recorder = url, recorder
        self.devices: list[Device] = []
        self.connect_s: list[float] = []
        self.failures: list[str] = []
        self.around = Surroundings(
            url=url, recorder=recorder, observer=observer, pages=Pages(recorder), reads=reads
        )

    def observe(self, observer: Observer) -> None:
        """Tell another observer from now on."""
        self.around.observer = observer

    async def connect(
        self,
        accounts: Sequence[Account],
        *,
        starts: Mapping[str, int],
        rate: float | None = None,
        source: str | None = None,
        done: Callable[[], object] = lambda: None,
    ) -> None:
        """Connect a device for every account, with the cursors `starts` of its conversations.

        Ten at a time, or `rate` a second whatever the server does, each timed from its intended
        moment then; `source` is the local address, `done` is called after each. A failed
        connection is counted in `failures`. Raises FleetError if all failed.
        """
        slots = asyncio.Semaphore(AT_ONCE if rate is None else len(accounts) or 1)
        begun = clock()

        async def one(account: Account, number: int) -> Device | None:
            async with slots:
                intended = None if rate is None else begun + number / rate
                if intended is not None:
                    await asyncio.sleep(intended - clock())
                device = await self.attempt(
                    account, starts=starts, source=source, intended=intended
                )
                done()
                return device

        found = await asyncio.gather(
            *(one(account, number) for number, account in enumerate(accounts))
        )
        self.devices.extend(device for device in found if device is not None)
        if not self.devices:
            why = self.failures[0] if self.failures else "there are no accounts"
            raise FleetError(f"no device could connect to {self.url}: {why}")

    async def attempt(
        self,
        account: Account,
        *,
        starts: Mapping[str, int],
        source: str | None = None,
        intended: float | None = None,
    ) -> Device | None:
        """Connect one device and time it (from the `intended` moment); None if it failed."""
        device = self.device(account, starts=starts, source=source)
        late = 0.0 if intended is None else max(clock() - intended, 0.0)
        return device if await self.open(device, late=late) else None

    def device(
        self, account: Account, *, starts: Mapping[str, int], source: str | None = None
    ) -> Device:
        """A device that tells what it sees, not connected and not one of `devices` yet."""
        known = {name: starts[name] for name in account.conversations if name in starts}
        testimony = Testimony(self.recorder, device=account.device, user=account.user)
        return Device(account, self.around, testimony, starts=known, source=source)

    async def open(self, device: Device, *, late: float = 0.0) -> bool:
        """Connect a device, or connect it again, and time it. Returns whether that worked."""
        try:
            self.connect_s.append(await device.connect() + late)
        except ConnectFailed as error:
            self.failures.append(str(error))
            return False
        return True

    async def come(
        self, device: Device, *, within_s: float, wanted: Callable[[], bool] = lambda: True
    ) -> bool:
        """Have one that could not get in come back by the client's own rules, for as long as it is `wanted`.

        It asks no sooner than it was told to; only `open` counts what worked and what failed. Returns whether it is here.
        """
        device.come()
        await until(lambda: device.online or not wanted(), within_s=within_s)
        return device.online

    def members(self) -> dict[str, list[Device]]:
        """The devices of each conversation."""
        found: dict[str, list[Device]] = {}
        for device in self.devices:
            for conversation in device.account.conversations:
                found.setdefault(conversation, []).append(device)
        return found

    @property
    def online(self) -> int:
        """Devices with an open session."""
        return sum(device.online for device in self.devices)

    @property
    def pending(self) -> int:
        """Sends without an answer."""
        return sum(len(device.pending) for device in self.devices)

    def behind(self) -> int:
        """How many cursors are not where the furthest device of their conversation is, or was promised to come.

        A server whose lease has lapsed answers and tells of nothing: then all are level, and all behind.
        """
        cursors = [
            (conversation, device.client.cursors.get(conversation, 0))
            for device in self.devices
            for conversation in device.account.conversations
        ]
        furthest: dict[str, int] = {}
        for conversation, cursor in cursors:
            furthest[conversation] = max(cursor, furthest.get(conversation, 0))
        for device in self.devices:
            for conversation, seq in device.promised.items():
                furthest[conversation] = max(seq, furthest.get(conversation, 0))
        return sum(cursor != furthest[conversation] for conversation, cursor in cursors)

    async def quiesce(self, *, within_s: float) -> bool:
        """Wait until every send is answered and every device is level. Returns whether that came."""
        look_s = max(LOOK_S, LOOK_DEVICE_S * len(self.devices))
        return await until(
            lambda: not self.pending and not self.behind(), within_s=within_s, look_s=look_s
        )

    def disconnect(self) -> None:
        """Have every device say where it is, and close every socket."""
        for device in self.devices:
            device.testify()
            device.leave()
