"""Who is where on a team's day: people and their devices, rooms and their members, and what went wrong."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from perf.checkers.receipts import MOST_DEVICES
from perf.history.recorder import Recorder
from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.fleet import Fleet
from perf.load.observer import Sent
from perf.load.rest import NoAnswer, Rest
from perf.measure.latency import Latency
from perf.rig.accounts import Account
from perf.scenarios.parts.phonebook import Phonebook
from perf.scenarios.parts.shelves import Shelves

T = TypeVar("T")
Key = tuple[int, int]
"""A person, and which of their devices."""

PATIENCE_S = 20.0  # with a REST call that a deploy interrupts
ENTER_S = 30.0  # and with a device that can't get in: T11's limit
AGAIN_S = 0.1
KEPT = 6  # of its own messages that a device may still edit or delete
AT_ONCE = 8  # rooms that are opened at a time


@dataclass(kw_only=True)
class Room:
    """A conversation: its id, who may invite, and who is in it as far as their calls have answered."""

    id: str
    founder: int
    members: set[int]


@dataclass(kw_only=True)
class Floor:
    """Every second device is at the first of `urls`, the others at the next."""

    urls: Sequence[str]
    people: Sequence[Sequence[Account]]  # the devices of each person
    recorder: Recorder
    shelves: Shelves
    fleets: list[Fleet] = field(default_factory=list)
    devices: dict[Key, Device] = field(default_factory=dict)
    own: dict[Key, deque[Sent]] = field(default_factory=dict)
    rooms: list[Room] = field(default_factory=list)
    present: set[Key] = field(default_factory=set)  # who should be here now
    late: set[int] = field(default_factory=set)  # numbers of devices that were linked meanwhile
    gone: set[Key] = field(default_factory=set)  # devices that were revoked
    done: Counter[str] = field(default_factory=Counter)
    asked_again: int = 0  # REST calls that got no answer at first
    files: Latency = field(default_factory=Latency)
    problems: list[str] = field(default_factory=list)

    async def open(self, rooms: Sequence[Sequence[int]]) -> None:
        """Found the rooms of the morning, by the members of each, its founder first. Raises NoAnswer."""
        self.books = [Phonebook(Rest(url)) for url in self.urls]
        self.fleets = [Fleet(url=url, recorder=self.recorder, observer=self.shelves) for url in self.urls]  # fmt: skip
        slots = asyncio.Semaphore(AT_ONCE)

        async def found(number: int, members: Sequence[int]) -> Room:
            founder, *others = members
            users = [self.people[other][0].user for other in others]
            async with slots:
                name = await self.book(founder).gather(
                    self.people[founder][0], f"room {number}", users
                )
            return Room(id=name, founder=founder, members=set(members))

        self.rooms = list(await asyncio.gather(*(found(n, who) for n, who in enumerate(rooms))))

    async def close(self) -> None:
        """Everyone says where they are and goes home."""
        for fleet in self.fleets:
            fleet.disconnect()
        for book in self.books:
            await book.rest.close()

    @property
    def staying(self) -> list[Device]:
        """All devices that ever had a session and were not revoked."""
        return [
            self.devices[key] for key in self.devices if self.came(key) and key not in self.gone
        ]

    def came(self, key: Key) -> bool:
        """Whether a device ever had a session."""
        device = self.devices.get(key)
        return device is not None and device.since > 0

    def book(self, person: int) -> Phonebook:
        """By which address a person asks."""
        return self.books[person % len(self.books)]

    def sent(self, key: Key) -> deque[Sent]:
        """The newest messages of a device that it has not changed yet."""
        return self.own.setdefault(key, deque(maxlen=KEPT))

    def speaker(self, key: Key, room: Room) -> Device | None:
        """The device, if it may say something there; else that is counted as left out."""
        device = self.devices.get(key)
        if device is None or key in self.gone or key[0] not in room.members:
            self.done["left out"] += 1
            return None
        return device

    async def patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Ask again while there is no answer: only for calls that may be repeated. Raises NoAnswer."""
        deadline = clock() + PATIENCE_S
        while True:
            try:
                return await work()
            except NoAnswer:
                if clock() > deadline:
                    raise
                self.asked_again += 1
                await asyncio.sleep(AGAIN_S)

    async def enter(self, key: Key, account: Account) -> bool:
        """Connect a device; who can't get in comes back by the client's own rules. Returns whether it is here."""
        fleet = self.fleets[sum(key) % len(self.fleets)]
        self.present.add(key)
        device = self.devices.get(key) or fleet.device(account, starts={})
        here = await fleet.open(device)
        if key not in self.devices:
            self.devices[key] = device
            fleet.devices.append(device)
        if not here and key in self.present:
            here = await fleet.come(device, within_s=ENTER_S, wanted=lambda: key in self.present)
        if key not in self.present:
            device.leave()  # it went home while it was coming
            return True
        return here

    def read(self) -> int:
        """Everyone who is here reads everything; returns how many marks that are at most."""
        marks = 0
        for key in self.present & self.devices.keys():
            for room in self.rooms:
                if key[0] in room.members:
                    self.devices[key].read(room.id)
                    marks += 1
            self.devices[key].flush()
        return marks

    def unconfirmed(self) -> int:
        """How many marks of who is here their own devices were not shown yet; where there are only counts none ever is."""
        found = 0
        for room in self.rooms:
            inside = [one for key, one in self.devices.items() if key[0] in room.members]
            here = [self.devices[key] for key in self.present & self.devices.keys() if key[0] in room.members]  # fmt: skip
            if len(inside) <= MOST_DEVICES:
                found += sum(room.id in one.client.unsettled for one in here if one.online)
        return found

    def behind(self) -> str:
        """Who is not level: here, answered, and at the same change of each room as the others; empty if all are."""
        for key in self.present:
            device = self.devices.get(key)
            if device is None or not device.online:
                return f"device {key[1]} of person {key[0]} is not here"
            if device.pending:
                return f"device {key[1]} of person {key[0]} waits for an answer"
        for number, room in enumerate(self.rooms):
            cursors = {
                self.devices[key].client.cursors.get(room.id, 0)
                for key in self.present
                if key[0] in room.members
            }
            if len(cursors) > 1:
                return f"the cursors in room {number} are {sorted(cursors)}"
        return ""


def by_user(accounts: Sequence[Account]) -> list[list[Account]]:
    """The devices of each person."""
    found: dict[str, list[Account]] = {}
    for account in accounts:
        found.setdefault(account.user, []).append(account)
    return list(found.values())
