"""Carries out what the fleet has to do.

Open loop: a `Plan` is kept whatever the server does; latency counts from the *intended* moment, so
that a stall is not hidden by the sends that it delayed. Closed loop: every device keeps some sends
unanswered, to find the capacity.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Sequence

from messaging.protocol import frames
from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.generator import Generator
from perf.load.observer import Sent, Troubles
from perf.load.plan import Arrival, Plan
from perf.measure.meter import Meter

TEXT = "The quick brown fox jumps over the lazy dog, and the five boxing wizards jump quickly. "
# What the loop's timers can tell apart (libuv counts milliseconds). Who wakes up earlier by less
# than this sends at once, and the latency counts from then.
TICK_S = 0.001
BREATH_S = 0.005  # so long a generator that is late goes on sending before it reads again


def body(length: int, number: int = 0) -> str:
    """The text of this length for the request of this number: no two are the same if there is room."""
    mark = f"{number} "[:length]
    rest = length - len(mark)
    return mark + (TEXT * (rest // len(TEXT) + 1))[:rest]


class OpenLoop:
    """A plan under way. `skipped` are the requests that could not be made: their message was not stored yet.

    `noted` is told of each before it is made, with the moment that its latency counts from.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        plan: Plan,
        generator: Generator,
        meter: Meter,
        *,
        noted: Callable[[Device, Arrival, float], object] = lambda *_: None,
    ) -> None:
        self.skipped, self.plan = 0, plan
        self._noted = noted
        self._devices = devices
        self._generator, self._meter = generator, meter
        self._targets = plan.targets
        self._sends: dict[int, Sent] = {}

    async def run(self, begun: float) -> None:
        """Make every request at its moment after `begun`, whatever came back so far."""
        paused = clock()
        for arrival in self.plan:
            intended = begun + arrival.at
            wait = intended - clock()
            if wait > TICK_S / 2:
                await asyncio.sleep(wait)
                paused = clock()
            elif clock() > paused + BREATH_S:  # behind its plan: answers must be read all the same
                await asyncio.sleep(0)
                paused = clock()
            late = max(clock() - intended, 0.0)
            self._generator.sent(late)
            self._meter.count("load.asked")
            self._make(arrival, intended)

    def _make(self, arrival: Arrival, intended: float) -> None:
        device = self._devices[arrival.device]
        conversation = device.account.conversations[0]
        intended = min(intended, clock())
        self._noted(device, arrival, intended)
        match arrival.what:
            case "send" | "reply":
                self._send(device, arrival, intended)
            case "edit" | "delete":
                self._change(device, arrival, intended)
            case "read":
                device.read(conversation)
            case "resume":
                device.drop()
            case "type":
                device.type(conversation)
            case "status":
                device.be(text=str(arrival.number))
        device.flush()

    def _send(self, device: Device, arrival: Arrival, intended: float) -> None:
        target = self._sends.pop(arrival.target, None)  # none of what is no reply
        sent = device.send(
            device.account.conversations[0],
            body(arrival.length, arrival.number),
            intended=intended,
            reply_to=None if target is None else target.message,
        )
        if arrival.number in self._targets:
            self._sends[arrival.number] = sent

    def _change(self, device: Device, arrival: Arrival, intended: float) -> None:
        sent = self._sends.pop(arrival.target)
        if sent.message is None:
            self.skipped += 1
        elif arrival.what == "edit":
            device.edit(sent, body(arrival.length, arrival.number), intended=intended)
        else:
            device.delete(sent, intended=intended)


class Saturation(Troubles):
    """A closed loop: each answer brings the next send. Counts while it is `counting`."""

    def __init__(self, meter: Meter | None = None, *, length: int = 100) -> None:
        super().__init__()
        self.counting = False
        self.committed = self.deliveries = self.frames = 0
        self.stored = 0  # answers from the first to the last, counted or not
        self.answer_s = array("d")
        self._length, self._meter = length, meter
        self._sending, self._sends = False, 0

    def start(self, devices: Sequence[Device], *, outstanding: int) -> None:
        """Let every device send `outstanding` messages, and one more for each answer."""
        self._sending = True
        for device in devices:
            for _ in range(outstanding):
                self._send(device, device.account.conversations[0])
            device.flush()

    def stop(self) -> None:
        """Send nothing more."""
        self._sending = False

    def _send(self, device: Device, conversation: str) -> None:
        self._sends += 1
        device.send(conversation, body(self._length, self._sends))

    def acked(self, device: Device, sent: Sent, now: float) -> None:
        """Count the answer and send the next message."""
        self.stored += 1
        if self.counting:
            self.committed += 1
            self.answer_s.append(now - sent.actual)
        if self._meter is not None:
            self._meter.count("load.acked")
        if self._sending:
            self._send(device, sent.conversation)

    def delivered(self, device: Device, messages: Sequence[frames.Message], now: float) -> None:
        """Count the deliveries."""
        if self.counting:
            self.frames += 1
            self.deliveries += len(messages)
        if self._meter is not None:
            self._meter.count("load.delivered", len(messages))
