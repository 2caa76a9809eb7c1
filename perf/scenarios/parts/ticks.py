"""Who has which message: what a sender is told, what the API says, and what must be so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from messaging.protocol import frames
from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.fleet import until
from perf.load.observer import Sent, Troubles
from perf.load.rest import Rest
from perf.rig.accounts import Account

LOOK_S = 0.02  # how often the API is asked
SEEN_S = 10.0  # patience with what should take a tenth of a second


class Marks(Troubles):
    """Keeps what every device was told of the others' marks, and how much arrived. `readers` read at once."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[int] = set()
        self.summaries: dict[tuple[int, str], frames.MarkSummary] = {}  # device, conversation
        self._told: dict[tuple[int, str, str], list[tuple[float, int, int]]] = {}
        self._others: dict[tuple[int, str], list[int]] = {}  # changes of messages that others wrote

    def delivered(self, device: Device, messages: Sequence[frames.Message], now: float) -> None:
        """Keep what others wrote; read it, if this is who reads at once."""
        for message in messages:
            place = ""
            if message.kind != "system" and message.user != device.account.user:
                place = self._place(device, message)
                self._others.setdefault((device.number, place), []).append(message.seq)
        if device.number in self.readers:
            for conversation in device.account.conversations:
                device.read(conversation)

    def _place(self, device: Device, message: frames.Message) -> str:
        """A body begins with its conversation: frames say it once for all messages of theirs."""
        return message.body.partition(" ")[0]

    def marked(self, device: Device, frame: frames.Receipts, now: float) -> None:
        """Keep marks and summaries."""
        for mark in frame.marks:
            key = (device.number, frame.conversation, mark.device)
            self._told.setdefault(key, []).append((now, mark.delivered, mark.read))
        if frame.summary is not None:
            self.summaries[device.number, frame.conversation] = frame.summary

    def reached(self, observer: Device, conversation: str, seq: int, *, by: Iterable[str]) -> int:
        """Of how many of these devices the observer was told that they have a change."""
        return sum(
            any(delivered >= seq for _, delivered, _ in self._told.get((observer.number, conversation, one), ()))
            for one in by
        )  # fmt: skip

    def read_at(self, observer: Device, conversation: str, by: str, seq: int) -> float | None:
        """When the observer was told that a device has read a change; None: not yet."""
        told = self._told.get((observer.number, conversation, by), ())
        return next((now for now, _, read in told if read >= seq), None)

    def badge(self, device: Device, conversation: str, own: Iterable[str]) -> int:
        """Messages of others that no device of the user has read, as far as this device was told."""
        told = (self._told.get((device.number, conversation, one), ()) for one in own)
        read = max((entry[2] for entries in told for entry in entries), default=0)
        read = max(read, device.client.reads.get(conversation, 0))
        return sum(seq > read for seq in self._others.get((device.number, conversation), ()))


@dataclass(frozen=True, kw_only=True)
class Ticks:
    """What the API says of one message."""

    devices: int
    delivered: int
    read: int
    summary: str
    marks: Sequence[Any] | None

    @property
    def sentence(self) -> str:
        """What `summary` has to be."""
        return f"delivered to {self.delivered} of {self.devices} devices, read by {self.read}"


class Desk:
    """Asks the API on behalf of devices."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def ticks(self, by: Account, message: str) -> Ticks:
        """The receipts of a message. Raises NoAnswer."""
        answer = await self._rest.ask("GET", f"/api/messages/{message}/receipts", token=by.token)
        found = answer.json()
        return Ticks(
            devices=int(found["devices"]),
            delivered=int(found["delivered"]),
            read=int(found["read"]),
            summary=str(found["summary"]),
            marks=found["marks"],
        )

    async def shown(self, by: Account, sent: Sent, *, delivered: int, read: int = 0) -> Ticks:
        """Ask until a message has these ticks, or more (which it never loses), or too long; returns the last answer."""
        deadline = clock() + SEEN_S
        while True:
            found = await self.ticks(by, sent.message or "")
            there = found.delivered >= delivered and found.read >= read
            if there or clock() > deadline:
                return found
            await until(lambda: False, within_s=LOOK_S)

    async def unread(self, by: Account, conversation: str) -> int:
        """Changes of a conversation that no device of the user has read."""
        answer = await self._rest.ask("GET", f"/api/conversations/{conversation}", token=by.token)
        found = answer.json()
        return int(found["last_seq"]) - int(found["read"])
