"""What devices notice of a fault: whose messages came late or not at all, and from when on all is well.

Messages of the restless conversation are not counted here: its devices are cut off on purpose all the
time, edit and delete. They are judged like all others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from messaging.protocol import frames
from perf.load.calm import Calm
from perf.load.device import Device
from perf.load.observer import Sent
from perf.measure.meter import Meter


class Bystanders(Calm):
    """Counts the first arrival of each message of the steady conversations at each other device."""

    def __init__(self, *, others: int, restless: Collection[str], meter: Meter | None) -> None:
        super().__init__(others=others, meter=meter)
        self.deliveries = 0  # changes that arrived anywhere, also again
        self.promised: dict[
            str, str
        ] = {}  # the id of each message that was acknowledged, by client_id
        self._restless = restless
        self._seen: set[tuple[int, str]] = set()

    def sent(self, device: Device, sent: Sent) -> None:
        """Expect a new message of a steady conversation everywhere."""
        if self._counts(sent):
            super().sent(device, sent)

    def acked(self, device: Device, sent: Sent, now: float) -> None:
        """It was answered, of whatever conversation."""
        if sent.what == "send" and sent.message is not None:
            self.promised[sent.client_id] = sent.message
        if self._counts(sent):
            super().acked(device, sent, now)

    def delivered(self, device: Device, messages: Sequence[frames.Message], now: float) -> None:
        """Count what arrives for the first time; a change of it brings it again."""
        self.deliveries += len(messages)
        first = []
        for message in messages:
            key = (device.number, message.id)
            if key not in self._seen:
                self._seen.add(key)
                first.append(message)
        super().delivered(device, first, now)

    def _counts(self, sent: Sent) -> bool:
        return sent.what == "send" and sent.conversation not in self._restless
