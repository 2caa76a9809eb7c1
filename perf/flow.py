"""Follows every message of an open loop: to the other devices, to the answer, to the read receipt.

Each latency counts from the moment the plan intended the send (corrected), and the delivery also
from the moment it was really sent (uncorrected): the difference is what the generator was late.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from messaging.protocol import frames
from perf.device import Device
from perf.latency import Latency
from perf.observer import Observer, Sent


class Flow(Observer):
    """Latencies of the messages that were intended at or after `count_from` (seconds of `clock`)."""

    def __init__(self) -> None:
        self.count_from = float("inf")
        self.delivery, self.uncorrected = Latency(), Latency()
        self.answer, self.live, self.receipt = Latency(), Latency(), Latency()
        self.refusals: dict[str, int] = {}
        self.closures: list[int] = []
        self.declined = 0
        self._sent: dict[str, tuple[Device, Sent]] = {}
        self._unread: dict[tuple[int, str], deque[tuple[int, float]]] = {}
        self._read: dict[tuple[int, str], int] = {}

    @property
    def unread(self) -> int:
        """Messages whose read receipt has not come back."""
        return sum(len(waiting) for waiting in self._unread.values())

    def sent(self, device: Device, sent: Sent) -> None:
        """Remember who sent it."""
        if sent.intended >= self.count_from:
            self._sent[sent.client_id] = (device, sent)

    def delivered(self, device: Device, messages: Sequence[frames.Message], now: float) -> None:
        """Time the messages that came from other devices."""
        for message in messages:
            sender, sent = self._sent.get(message.client_id or "", (None, None))
            if sender is None or sent is None or sender is device:
                continue
            self.delivery.record(now - sent.intended)
            self.uncorrected.record(now - sent.actual)
            if sender.account.user == device.account.user:
                self.live.record(now - sent.intended)

    def acked(self, device: Device, sent: Sent, now: float) -> None:
        """Time the answer, and wait for the read receipt."""
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

    def refused(self, device: Device, code: str, *, final: bool) -> None:
        """Count the refusal."""
        self.refusals[code] = self.refusals.get(code, 0) + 1
        self.declined += final

    def closed(self, device: Device, code: int) -> None:
        """Count the closure."""
        self.closures.append(code)
