"""How long everything takes until the others see it: messages, edits, typing, texts, receipts, badges.

All count from the moment that the plan intended, so that a stall is not hidden by what it delayed
(coordinated omission, Gil Tene, "How NOT to Measure Latency", 2015).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from messaging.protocol import frames
from perf.load.device import Device
from perf.load.flow import Flow
from perf.load.observer import Sent
from perf.load.plan import Arrival
from perf.measure.latency import Latency
from perf.measure.meter import Meter

SAY_S = 3.1  # a client says at most every 3 s that its user types


@dataclass(kw_only=True, eq=False)
class Wait:
    """Something that the others should be shown, and who was. `mark` is how far was read."""

    intended: float
    missing: set[int]
    mark: int = 0
    seen: int = 0

    def show(self, device: int) -> bool:
        """A device was shown it. Returns whether that was the first time."""
        if device not in self.missing:
            return False
        self.missing.discard(device)
        self.seen += 1
        return True


@dataclass(kw_only=True)
class Kind:
    """One kind of thing: how long it took, and how often it was and should have been shown."""

    latency: Latency = field(default_factory=Latency)
    waits: list[Wait] = field(default_factory=list)

    @property
    def due(self) -> int:
        """How often it should have been shown."""
        return self.shown + sum(len(one.missing) for one in self.waits)

    @property
    def shown(self) -> int:
        """How often it was."""
        return sum(one.seen for one in self.waits)


class Moments(Flow):
    """Flow, and everything else. `far` are the devices of the second server; who is in a conversation of `reading` reads at once."""

    def __init__(self, meter: Meter, *, far: Collection[int], reading: Collection[str]) -> None:
        super().__init__(meter)
        self.same, self.across = Latency(), Latency()  # messages within a server, and between two
        self.edits = Latency()
        self.typing, self.texts, self.receipts, self.badges = Kind(), Kind(), Kind(), Kind()
        self.misplaced = self.shown_typing = 0  # typing that was shown to its own user
        self._far, self._reading = far, reading
        self._members: dict[str, list[Device]] = {}
        self._edits: dict[tuple[str, int], tuple[Device, Sent]] = {}
        self._reads: dict[tuple[str, str], deque[tuple[Kind, Wait]]] = {}  # device, conversation
        self._typists: dict[tuple[str, str], Wait] = {}  # conversation, user
        self._typed: dict[int, float] = {}
        self._texts: dict[str, Wait] = {}

    def expect(self, members: dict[str, list[Device]]) -> None:
        """Say who is in which conversation."""
        self._members = members

    # What is done

    def noted(self, device: Device, arrival: Arrival, intended: float) -> None:
        """The plan is about to do this."""
        if intended < self.count_from:
            return
        match arrival.what:
            case "read":
                self._note_read(device, intended)
            case "type":
                self._note_typing(device, intended)
            case "status":
                wait = Wait(intended=intended, missing=self._others(device))
                self._texts[str(arrival.number)] = wait
                self.texts.waits.append(wait)

    def _note_read(self, device: Device, intended: float) -> None:
        place = device.account.conversations[0]
        mark = device.client.cursors.get(place, 0)
        if mark <= device.client.reads.get(place, 0):
            return  # nothing new: nothing is said
        others = self._others(device)
        own = {one.number for one in self._members[place]} - others - {device.number}
        queue = self._reads.setdefault((device.account.device, place), deque())
        for kind, who in ((self.receipts, others), (self.badges, own)):
            wait = Wait(intended=intended, missing=who, mark=mark)
            kind.waits.append(wait)
            queue.append((kind, wait))

    def _note_typing(self, device: Device, intended: float) -> None:
        if intended < self._typed.get(device.number, -SAY_S) + SAY_S:
            return  # the client keeps it to itself
        self._typed[device.number] = intended
        wait = Wait(intended=intended, missing=self._others(device))
        self._typists[device.account.conversations[0], device.account.user] = wait
        self.typing.waits.append(wait)

    def _others(self, device: Device) -> set[int]:
        members = self._members[device.account.conversations[0]]
        return {one.number for one in members if one.account.user != device.account.user}

    def sent(self, device: Device, sent: Sent) -> None:
        """Remember edits by what they make of their message."""
        super().sent(device, sent)
        if sent.what == "edit" and sent.intended >= self.count_from:
            self._edits[sent.of or "", sent.base_version + 1] = (device, sent)

    # What is seen

    def delivered(self, device: Device, messages: Sequence[frames.Message], now: float) -> None:
        """Time messages and edits; read, if this is who reads at once."""
        super().delivered(device, messages, now)
        for message in messages:
            editor, edit = self._edits.get((message.id, message.version), (device, None))
            if edit is not None and editor is not device:
                self.edits.record(now - edit.intended)
        if device.account.conversations[0] in self._reading:
            device.read(device.account.conversations[0])

    def _arrived(self, sender: Device, sent: Sent, device: Device, now: float) -> None:
        super()._arrived(sender, sent, device, now)
        crosses = (sender.number in self._far) != (device.number in self._far)
        (self.across if crosses else self.same).record(now - sent.intended)

    def acked(self, device: Device, sent: Sent, now: float) -> None:
        """Time the answer, and wait for the read receipt only where somebody reads at once."""
        if sent.conversation in self._reading:
            super().acked(device, sent, now)
        elif sent.client_id in self._sent:
            self.answer.record(now - sent.intended)

    def marked(self, device: Device, frame: frames.Receipts, now: float) -> None:
        """Time what was read elsewhere, and on the user's other devices."""
        super().marked(device, frame, now)
        for mark in frame.marks:
            for kind, wait in self._reads.get((mark.device, frame.conversation), ()):
                if wait.mark > mark.read:
                    break
                if wait.show(device.number):
                    kind.latency.record(now - wait.intended)

    def typed(self, device: Device, frame: frames.Typed, now: float) -> None:
        """Time typing."""
        self.shown_typing += 1
        elsewhere = frame.conversation not in device.account.conversations
        self.misplaced += elsewhere or frame.user == device.account.user
        wait = self._typists.get((frame.conversation, frame.user))
        if frame.typing and wait is not None and wait.show(device.number):
            self.typing.latency.record(now - wait.intended)

    def shown(self, device: Device, frame: frames.Presence, now: float) -> None:
        """Time texts."""
        for entry in frame.users:
            wait = self._texts.get(entry.text)
            if wait is not None and wait.show(device.number):
                self.texts.latency.record(now - wait.intended)

    @property
    def complete(self) -> bool:
        """Whether everything was shown that is sure to come."""
        return not self.unread and all(
            kind.shown == kind.due for kind in (self.receipts, self.badges)
        )

    def agreed(self) -> tuple[int, int]:
        """Of how many users all others show the same text in the end, and how many users there are."""
        texts: dict[str, set[str]] = {}
        for devices in self._members.values():
            for device in devices:
                for user in {one.account.user for one in devices} - {device.account.user}:
                    entry = device.client.presence.others.users.get(user)
                    texts.setdefault(user, set()).add(entry.text if entry is not None else "")
        return sum(len(shown) == 1 for shown in texts.values()), len(texts)
