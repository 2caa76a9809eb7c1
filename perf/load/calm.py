"""Bystanders of a flood: devices that go on talking quietly, and when they are served as before.

Messages are counted into windows by the moment that the plan *intended* them, so a message that a
flood delayed counts in the window in which it should have been sent, whenever it arrives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from messaging.protocol import frames
from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.observer import Sent, Troubles
from perf.measure.latency import Latency
from perf.measure.meter import Meter

WINDOW_S = 0.25
FACTOR = 2.0  # back to calm: no slower than so many times the worst window of the calm phase
STEADY = 6  # windows in a row that must be calm again; the recovery counts to the first of them


@dataclass(slots=True)
class Window:
    """The messages that were due within one window, and what became of them."""

    asked: int = 0
    acked: int = 0
    troubles: int = 0
    took_s: list[float] = field(default_factory=list)  # of each delivery to another device

    def complete(self, others: int) -> bool:
        """Whether every message was answered and has reached all others."""
        return self.acked == self.asked and len(self.took_s) == self.asked * others

    @property
    def p99_s(self) -> float:
        """The 99th percentile of its deliveries; 0 without any."""
        took = sorted(self.took_s)
        return took[min(len(took) * 99 // 100, len(took) - 1)] if took else 0.0


class Calm(Troubles):
    """Follows the messages of the calm devices; each conversation has `others` besides the sender.

    The windows count from `begun`, the moment at which their plan begins.
    """

    def __init__(self, *, others: int, meter: Meter | None = None) -> None:
        super().__init__()
        self.begun, self.others = clock(), others
        self.windows: dict[int, Window] = {}
        self._meter = meter
        self._sent: dict[str, tuple[Device, Sent]] = {}

    def at(self, moment: float) -> Window:
        """The window of a moment."""
        return self.windows.setdefault(self.number(moment), Window())

    def number(self, moment: float) -> int:
        """Which window a moment is in."""
        return int((moment - self.begun) / WINDOW_S)

    def sent(self, device: Device, sent: Sent) -> None:
        """Expect it everywhere."""
        self.at(sent.intended).asked += 1
        self._sent[sent.client_id] = (device, sent)
        if self._meter is not None:
            self._meter.count("load.sent")

    def acked(self, device: Device, sent: Sent, now: float) -> None:
        """It was answered."""
        self.at(sent.intended).acked += 1
        if self._meter is not None:
            self._meter.count("load.acked")

    def delivered(self, device: Device, messages: Sequence[frames.Message], now: float) -> None:
        """It arrived at another device."""
        for message in messages:
            sender, sent = self._sent.get(message.client_id or "", (device, None))
            if sent is not None and sender is not device:
                self.at(sent.intended).took_s.append(now - sent.intended)
                if self._meter is not None:
                    self._meter.time("delivery", now - sent.intended)
        if self._meter is not None:
            self._meter.count("load.delivered", len(messages))

    def refused(self, device: Device, code: str, *, final: bool) -> None:
        """An error: it belongs to the moment at which it came."""
        super().refused(device, code, final=final)
        self._trouble()

    def closed(self, device: Device, code: int) -> None:
        """The same."""
        super().closed(device, code)
        self._trouble()

    def _trouble(self) -> None:
        self.at(clock()).troubles += 1

    # What it comes to

    def latency(self, since: float, until: float) -> Latency:
        """The deliveries of messages intended in a span of time."""
        found = Latency()
        for number in range(self.number(since), self.number(until)):
            if number in self.windows:
                found.extend(self.windows[number].took_s)
        return found

    def reference_s(self, since: float, until: float) -> float | None:
        """The worst window of the calm phase; None if nothing arrived in it."""
        numbers = range(self.number(since) + 1, self.number(until))
        worst = [self.windows[n].p99_s for n in numbers if n in self.windows]
        return max(worst, default=0.0) or None

    def recovered(self, ended: float, *, bound_s: float) -> float | None:
        """How many seconds after `ended` everything was as calm as `bound_s` again; None if not yet.

        It is calm from the first of STEADY windows in a row that are free of errors, complete and fast.
        A window counts once something was sent in a later one, and only if something was sent in it:
        of those that a late generator has not come to yet nothing is known.
        """
        first = self.number(ended)
        last = max((number for number, one in self.windows.items() if one.asked), default=first)
        steady = 0
        for number in range(first, last):
            window = self.windows.get(number)
            good = window is not None and self._good(window, bound_s)
            steady = steady + 1 if good else 0
            if steady == STEADY:
                start = self.begun + (number - STEADY + 1) * WINDOW_S
                return max(start - ended, 0.0)
        return None

    def _good(self, window: Window, bound_s: float) -> bool:
        quiet = not window.troubles and window.asked > 0
        return quiet and window.complete(self.others) and window.p99_s <= bound_s
