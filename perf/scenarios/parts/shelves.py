"""What every device has at every moment, as its user sees it, and whether that is what the database has in the end.

A second opinion: the judge replays what devices were sent, this keeps what they made of it. Only messages
between two undisturbed sessions count for the live latency; what a restart delays is the restart's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from messaging.protocol import CloseCode, frames
from perf.history.events import Change, Stay, StoredConversation
from perf.history.reader import read_stored
from perf.history.recorder import digest
from perf.load.device import Device
from perf.load.line import LOST
from perf.load.observer import Sent, Troubles
from perf.measure.latency import Latency
from perf.measure.meter import Meter
from perf.targets import Outcome, outcome

EXAMPLES = 5
TURNED_AWAY = {CloseCode.FULL.value, LOST}  # or not heard in time


class Item(NamedTuple):
    """A message as a device has it; `moment` is when it came, in this state."""

    seq: int
    position: int
    version: int
    digest: int
    deleted: bool
    files: tuple[tuple[str, str], ...]  # id and sha256
    moment: float


class Shelves(Troubles):
    """Everything that is on the devices, by their number."""

    def __init__(self, meter: Meter | None = None) -> None:
        super().__init__()
        self.items: dict[int, dict[str, Item]] = defaultdict(dict)
        self.live = Latency()
        self.deliveries = 0
        self.turned_away: Counter[int] = Counter()  # connections that ended before a welcome
        self._meter = meter
        self._sent: dict[str, tuple[Device, Sent]] = {}
        self._read: dict[tuple[int, str, str], tuple[int, float]] = {}

    def sent(self, device: Device, sent: Sent) -> None:
        """Remember who has said it, and when."""
        if sent.what == "send":
            self._sent[sent.client_id] = (device, sent)
        if self._meter is not None:
            self._meter.count("load.sent")

    def acked(self, device: Device, sent: Sent, now: float) -> None:
        """Count it."""
        if self._meter is not None:
            self._meter.count("load.acked")

    def delivered(self, device: Device, messages: Sequence[frames.Message], now: float) -> None:
        """Put it on the device's shelf: the newest state of each message stays."""
        shelf = self.items[device.number]
        self.deliveries += len(messages)
        for message in messages:
            before = shelf.get(message.id)
            if before is None and message.version == 1:
                self._time(device, message, now)
            if before is None or message.seq > before.seq:
                shelf[message.id] = _item(message, now)
        if self._meter is not None:
            self._meter.count("load.delivered", len(messages))

    def marked(self, device: Device, frame: frames.Receipts, now: float) -> None:
        """Remember how far it was first told that another has read."""
        for mark in frame.marks:
            key = (device.number, mark.device, frame.conversation)
            if mark.read > self._read.get(key, (0, 0.0))[0]:
                self._read[key] = (mark.read, now)

    def has(self, device: Device, sent: Sent, *, version: int = 1) -> bool:
        """Whether a message is on a device, at least in this version."""
        item = self.items[device.number].get(sent.message or "")
        return item is not None and item.version >= version

    def told_read(self, device: Device, by: Device, sent: Sent) -> float | None:
        """When a device was told that another has read a message; None: not yet."""
        read, moment = self._read.get(
            (device.number, by.account.device, sent.conversation), (0, 0.0)
        )
        return moment if read >= sent.seq > 0 else None

    def closed(self, device: Device, code: int) -> None:
        """Count the end of a session; who was turned away before the welcome had none to lose, and comes back."""
        if device.greeted > device.since and code in TURNED_AWAY:
            self.turned_away[code] += 1
        else:
            super().closed(device, code)

    def strange(self, *, revoked: int) -> list[str]:
        """Ends of connections that neither a deploy nor so many revocations explain, and refusals for good."""
        codes = Counter(self.closures) - Counter({CloseCode.REVOKED.value: revoked})
        del codes[CloseCode.RESTART.value]
        found = [f"{count} connections were lost with code {code}" for code, count in codes.items()]
        if self.declined:
            found.append(f"{self.declined} requests were refused for good: {self.refusals}")
        return found

    def _time(self, device: Device, message: frames.Message, now: float) -> None:
        sender, sent = self._sent.get(message.client_id or "", (device, None))
        if sent is None or sender is device:
            return
        if device.since < sent.actual and sender.since < sent.actual:
            self.live.record(now - sent.intended)
            if self._meter is not None:
                self._meter.time("delivery", now - sent.intended)


def _item(message: frames.Message, now: float) -> Item:
    deleted = message.deleted is not None
    return Item(
        message.seq,
        message.position,
        message.version,
        0 if deleted else digest(message.body),
        deleted,
        tuple((one.id, one.sha256) for one in message.attachments),
        now,
    )


# The end


@dataclass(frozen=True, kw_only=True)
class Compared:
    """How many devices were compared, how many have what the database has, and examples of those that have not."""

    devices: int
    equal: int
    messages: int
    differences: tuple[str, ...] = ()

    @property
    def percent(self) -> float | None:
        """Of devices that are equal; None if there was nothing to compare."""
        return 100 * self.equal / self.devices if self.devices and self.messages else None

    def outcome(self) -> Outcome:
        """The end of the day: every device against the database."""
        source = f"{self.devices:,} devices, {self.messages:,} messages"
        return outcome("E1", self.percent, source="; ".join([source, *self.differences]))


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One device in the end: its number, whose it is, what it has, where it believes to be. A `late` one
    was registered when something had been said already, which is not on it."""

    number: int
    user: str
    items: Mapping[str, Item]
    cursors: Mapping[str, int]
    late: bool = False


def kept(shelves: Shelves, devices: Iterable[Device], late: Collection[int] = ()) -> list[Kept]:
    """The devices as they are now."""
    return [
        Kept(
            number=one.number,
            user=one.account.user,
            items=shelves.items[one.number],
            cursors=dict(one.client.cursors),
            late=one.number in late,
        )
        for one in devices
    ]


def compare(devices: Sequence[Kept], stored: Path, *, starts: Mapping[str, int]) -> Compared:
    """Hold every device against what was read from the database in the end. Raises OSError.

    `starts` says where conversations stood that there were before the devices.
    """
    conversations: dict[str, StoredConversation] = {}
    stays: dict[str, list[Stay]] = defaultdict(list)  # by user
    for line in read_stored(stored):
        if isinstance(line, StoredConversation):
            conversations[line.conversation] = line
        elif isinstance(line, Stay):
            stays[line.user].append(line)
    ids = {change.id for one in conversations.values() for change in one.changes}
    looked, equal, found = 0, 0, list[str]()
    for device in devices:
        wrong = [f"it has {len(extra)} messages that are not stored"] if (extra := device.items.keys() - ids) else []  # fmt: skip
        for stay in stays[device.user]:
            looked += len(conversations[stay.conversation].changes)
            begin = max(stay.joined, starts.get(stay.conversation, 0))
            wrong += _differences(device, stay, conversations[stay.conversation], begin)
        equal += not wrong
        found += [f"device {device.number}: {one}" for one in wrong]
    return Compared(
        devices=len(devices), equal=equal, messages=looked, differences=tuple(found[:EXAMPLES])
    )


def _differences(
    device: Kept, stay: Stay, conversation: StoredConversation, begin: int
) -> list[str]:
    """What a device has of a conversation beyond `begin` and should not, or the other way round."""
    name, changes = conversation.conversation, conversation.changes
    end = conversation.last_seq if stay.left is None else stay.left
    if device.late:
        shown = [device.items[one.id].seq for one in changes if one.id in device.items]
        begin = max(begin, min(shown, default=end + 1) - 1)
    wrong = [
        f"message {one.id} in {name} is {_told(device.items.get(one.id))}, stored as {one}"
        for one in changes
        if begin < one.seq <= end and not _same(device.items.get(one.id), one)
    ]
    cursor = device.cursors.get(name, end)
    if stay.left is None and cursor != end:
        wrong.append(f"its cursor in {name} is {cursor}, the last change is {end}")
    return wrong


def _same(item: Item | None, stored: Change) -> bool:
    return item is not None and item[:5] == (
        *(stored.seq, stored.position, stored.version, stored.digest, stored.deleted),
    )


def _told(item: Item | None) -> str:
    return "missing" if item is None else f"{item[:5]}"
