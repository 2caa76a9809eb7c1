"""Follows every message of an open loop: to the other devices, to the answer, to the read receipt.

Each latency counts from the moment the plan intended the send (corrected), and the delivery also
from the moment it was really sent (uncorrected): the difference is what the generator was late.
What a device missed while it was away is not timed: the rig had cut it off.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from messaging.protocol import frames
from perf.load.device import Device
from perf.load.observer import Sent, Troubles
from perf.measure.latency import Latency
from perf.measure.meter import Meter


class Flow(Troubles):
    """Latencies of the messages that were intended at or after `count_from` (seconds of `clock`)."""

    def __init__(self, meter: Meter | None = None) -> None:
        super().__init__()
        self.count_from = float("inf")
        self.stored: Counter[str] = Counter()  # requests that were answered, by kind
        self._meter = meter
        self.delivery, self.uncorrected = Latency(), Latency()
        self.answer, self.live, self.receipt = Latency(), Latency(), Latency()
        self.deliveries = 0
        self._sent: dict[str, tuple[Device, Sent]] = {}
        self._unread: dict[tuple[int, str], deque[tuple[int, float]]] = {}
        self._read: dict[tuple[int, str], int] = {}

    @property
    def asked(self) -> int:
        """Messages that are timed."""
        return len(self._sent)

    @property
    def unread(self) -> int:
        """Messages whose read receipt has not come back."""
        return sum(len(waiting) for waiting in self._unread.values())

    def sent(self, device: Device, sent: Sent) -> None:
        """Remember who sent it."""
        if sent.intended >= self.count_from and device.online and sent.what == "send":
            self._sent[sent.client_id] = (device, sent)
        if self._meter is not None:
            self._meter.count("load.sent")

    def delivered(self, device: Device, messages: Sequence[frames.Message], now: float) -> None:
        """Time the messages that came from other devices."""
        self.deliveries += len(messages)
        if self._meter is not None:
            self._meter.count("load.delivered", len(messages))
        for message in messages:
            sender, sent = self._sent.get(message.client_id or "", (None, None))
            if sender is None or sent is None or sender is device or sent.actual < device.since:
                continue
            if message.version == 1:
                self._arrived(sender, sent, device, now)

    def _arrived(self, sender: Device, sent: Sent, device: Device, now: float) -> None:
        took = now - sent.intended
        self.delivery.record(took)
        self.uncorrected.record(now - sent.actual)
        if self._meter is not None:
            self._meter.time("delivery", took)
        if sender.account.user == device.account.user:
            self.live.record(took)

    def acked(self, device: Device, sent: Sent, now: float) -> None:
        """Time the answer, and wait for the read receipt."""
        if self._meter is not None:
            self._meter.count("load.acked")
        self.stored[sent.what] += 1
        if sent.client_id not in self._sent:
            return
        self.answer.record(now - sent.intended)
        place = (device.number, sent.conversation)
        if self._read.get(place, 0) >= sent.seq:
            self.receipt.record(now - sent.intended)
        else:
            self._unread.setdefault(place, deque()).append((sent.seq, sent.intended))

    def marked(self, device: Device, frame: frames.Receipts, now: float) -> None:
        """Time the messages that another user has read now."""
        others = [mark.read for mark in frame.marks if mark.user != device.account.user]
        place = (device.number, frame.conversation)
        read = self._read[place] = max(self._read.get(place, 0), *others, 0)
        waiting = self._unread.get(place)
        while waiting and waiting[0][0] <= read:
            self.receipt.record(now - waiting.popleft()[1])
