"""Who was shown what of whose presence, and when: the measure of `e2e presence`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from messaging.protocol.frames import Presence, UserPresence
from perf.load.device import Device
from perf.load.observer import Troubles

Wanted: TypeAlias = Callable[[UserPresence], bool]


@dataclass(eq=False)
class Expectation:
    """What all of these devices should be shown; `seen` has the moment (s) for each that was."""

    missing: set[int]
    wanted: Wanted
    seen: dict[int, float] = field(default_factory=dict)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def show(self, device: int, entry: UserPresence, now: float) -> None:
        """A device was shown this."""
        if device in self.missing and self.wanted(entry):
            self.missing.discard(device)
            self.seen[device] = now
        if not self.missing:
            self.done.set()

    async def met(self, *, within_s: float) -> bool:
        """Wait until all have seen it. Returns whether that came in time."""
        if not self.missing:
            return True
        try:
            async with asyncio.timeout(within_s):
                await self.done.wait()
        except TimeoutError:
            return False
        return True


class Sightings(Troubles):
    """Told of every `presence` frame of a fleet. `frames` and `entries` count what was shown to all devices."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = self.entries = 0
        self._last: dict[tuple[int, str], UserPresence] = {}
        self._changes: dict[str, int] = {}  # that were shown to others, by user
        self._expected: dict[str, list[Expectation]] = {}

    def shown(self, device: Device, frame: Presence, now: float) -> None:
        """A device was shown how some users are."""
        self.frames += 1
        self.entries += len(frame.users)
        for entry in frame.users:
            if device.account.user != entry.user:
                self._note(device.number, entry)
            for one in self._expected.get(entry.user, ()):
                one.show(device.number, entry, now)

    def _note(self, device: int, entry: UserPresence) -> None:
        """A new session is told anew what its device knew: that is no change."""
        if self._last.get((device, entry.user)) != entry:
            self._changes[entry.user] = self._changes.get(entry.user, 0) + 1
        self._last[device, entry.user] = entry

    def changes_of(self, user: str) -> int:
        """How often another device was shown this user as it had not been before."""
        return self._changes.get(user, 0)

    def expect(self, user: str, by: Iterable[Device], wanted: Wanted) -> Expectation:
        """Have it noted when each of these devices is shown this of a user, from now on."""
        made = Expectation({device.number for device in by}, wanted)
        self._expected.setdefault(user, []).append(made)
        return made


def sees(device: Device, user: str) -> str:
    """How a user is, as far as this device's client knows."""
    entry = device.client.presence.others.users.get(user)
    return entry.state if entry is not None else "offline"
