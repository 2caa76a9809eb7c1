"""What the fleet sends, and when.

Open loop: a seeded plan of arrival times is made before the run and kept whatever the server does;
latency counts from the *intended* time, so a stall is not hidden by the sends that it delayed.
Closed loop: every device keeps `outstanding` sends unanswered, to find the capacity.
"""

from __future__ import annotations

import asyncio
import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from messaging.protocol import frames
from perf.device import Device
from perf.history.testimony import clock
from perf.observer import Observer, Sent

TEXT = "The quick brown fox jumps over the lazy dog, and the five boxing wizards jump quickly. "


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """One send of a plan: when (seconds after the start), from which device, with how long a body."""

    at: float
    device: int
    length: int


def plan(*, seed: int, rate: float, duration_s: float, devices: int) -> list[Arrival]:
    """Return Poisson arrivals of `rate` a second, from random devices, with bodies of 20-200 characters."""
    dice = random.Random(seed)
    arrivals, at = [], dice.expovariate(rate)
    while at < duration_s:
        arrivals.append(
            Arrival(at=at, device=dice.randrange(devices), length=dice.randint(20, 200))
        )
        at += dice.expovariate(rate)
    return arrivals


def body(length: int) -> str:
    """A text of this length."""
    return (TEXT * (length // len(TEXT) + 1))[:length]


async def open_loop(
    devices: Sequence[Device], arrivals: Sequence[Arrival], *, begun: float
) -> None:
    """Send every arrival at its time after `begun`, whatever came back so far."""
    for arrival in arrivals:
        intended = begun + arrival.at
        wait = intended - clock()
        if wait > 0:
            await asyncio.sleep(wait)
        device = devices[arrival.device]
        device.send(device.account.conversations[0], body(arrival.length), intended=intended)
        device.flush()


class Saturation(Observer):
    """A closed loop: each answer brings the next send. Counts while it is `counting`."""

    def __init__(self, *, length: int = 100) -> None:
        self.counting = False
        self.committed = self.deliveries = self.frames = 0
        self.answer_s = array("d")
        self.refusals: dict[str, int] = {}
        self.closures: list[int] = []
        self.declined = 0
        self._text, self._sending = body(length), False

    def start(self, devices: Sequence[Device], *, outstanding: int) -> None:
        """Let every device send `outstanding` messages, and one more for each answer."""
        self._sending = True
        for device in devices:
            for _ in range(outstanding):
                device.send(device.account.conversations[0], self._text)
            device.flush()

    def stop(self) -> None:
        """Send nothing more."""
        self._sending = False

    def acked(self, device: Device, sent: Sent, now: float) -> None:
        """Count the answer and send the next message."""
        if self.counting:
            self.committed += 1
            self.answer_s.append(now - sent.actual)
        if self._sending:
            device.send(sent.conversation, self._text)

    def delivered(self, device: Device, messages: Sequence[frames.Message], now: float) -> None:
        """Count the deliveries."""
        if self.counting:
            self.frames += 1
            self.deliveries += len(messages)

    def refused(self, device: Device, code: str, *, final: bool) -> None:
        """Count the refusal; the device itself repeats what may be repeated."""
        self.refusals[code] = self.refusals.get(code, 0) + 1
        self.declined += final

    def closed(self, device: Device, code: int) -> None:
        """Count the closure."""
        self.closures.append(code)
