"""What delivery is compared with: a conversation's true history, and a client that knows the one rule.

Both are as plain as can be and share no decision with the code they judge. `Broken` names the
promise that was not kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from messaging.protocol.frames import (
    Conversation,
    ConversationState,
    Error,
    Events,
    Goodbye,
    Left,
    Message,
    Reset,
    ServerFrame,
    Welcome,
)
from messaging.protocol.server.actions import Standing
from messaging.protocol.server.batch import Batch, Fence

ME, OTHER = "me", "other"
ROUND_THE_CLOCK = 2**62


class Broken(AssertionError):
    """A promise was not kept."""


@dataclass
class Stay:
    """The changes from `joined` to `left` are mine to see."""

    joined: int
    left: int | None = None


class Log:
    """One conversation as the database has it: every change ever, each message's newest state, my stays."""

    def __init__(self, conversation: str, *, since_joined: bool) -> None:
        self.conversation, self.since_joined = conversation, since_joined
        self.changes: list[Message] = []
        self.newest: dict[str, Message] = {}
        self.stays: list[Stay] = []

    @property
    def last_seq(self) -> int:
        """The newest change."""
        return len(self.changes)

    @property
    def present(self) -> bool:
        """Whether I am in it."""
        return bool(self.stays) and self.stays[-1].left is None

    @property
    def end(self) -> int:
        """The last change that is mine to see."""
        left = self.stays[-1].left
        return self.last_seq if left is None else left

    def _change(self, message: Message) -> None:
        self.changes.append(message)
        self.newest[message.id] = message

    def append(self, *, kind: str = "text", body: str = "") -> None:
        """A new message."""
        seq = self.last_seq + 1
        name = f"{self.conversation[0]}/{seq}"
        self._change(
            Message(id=name, seq=seq, position=seq, kind=kind, body=body or f"said at {seq}")
        )

    def amend(self, message: Message) -> None:
        """A new state of a message; the row with its old number is gone."""
        seq = self.last_seq + 1
        newer = msgspec.structs.replace(
            message, seq=seq, version=message.version + 1, body=f"amended at {seq}"
        )
        self._change(newer)

    def join(self) -> None:
        """I am added."""
        self.append(kind="system", body=f"joined {ME}")
        self.stays.append(Stay(self.last_seq))

    def leave(self, user: str) -> None:
        """Someone leaves."""
        self.append(kind="system", body=f"left {user}")
        if user == ME:
            self.stays[-1].left = self.last_seq

    def restore(self, seq: int) -> None:
        """The database is what it was at change `seq`, after my first joining."""
        del self.changes[seq:]
        self.newest = {message.id: message for message in self.changes}
        self.stays = [stay for stay in self.stays if stay.joined <= seq]
        if (self.stays[-1].left or 0) > seq:
            self.stays[-1].left = None

    def committed(self, since: int) -> Batch:
        """What a writer announces after its commit: the changes as they were made."""
        return self._batch(since, self.last_seq, self.changes[since:])

    def page(self, since: int, *, limit: int) -> Batch:
        """What a read of the table gives: the newest states above `since`, and how far they reach."""
        rows = sorted(
            (message for message in self.newest.values() if message.seq > since),
            key=lambda message: message.seq,
        )[:limit]
        upto = rows[-1].seq if len(rows) == limit else max(self.last_seq, since)
        return self._batch(since, upto, rows)

    def _batch(self, since: int, upto: int, messages: list[Message]) -> Batch:
        fences = tuple(
            Fence(message.body.split()[1], message.seq)
            for message in messages
            if message.kind == "system" and message.body.startswith("left")
        )
        return Batch(
            conversation=self.conversation,
            since=since,
            upto=upto,
            messages=messages,
            fences=fences,
        )

    def standing(self, delivered: int | None) -> Standing:
        """My newest stay."""
        return Standing(
            conversation=self.conversation,
            kind="group",
            title="",
            last_seq=self.last_seq,
            joined_seq=self.stays[-1].joined,
            left_seq=self.stays[-1].left,
            since_joined=self.since_joined,
            delivered=delivered,
        )

    def may_see(self, message: Message) -> bool:
        """Whether one of my stays covers this state of the message."""
        return any(
            message.seq <= (stay.left or ROUND_THE_CLOCK)
            and (not self.since_joined or message.position >= stay.joined)
            for stay in self.stays
            if self.since_joined or stay is self.stays[-1]
        )

    def must_see(self, message: Message) -> bool:
        """Whether no later state makes up for this one, and my newest stay does not hide it."""
        hidden = self.since_joined and message.position < self.stays[-1].joined
        return self.newest[message.id] == message and not hidden


@dataclass
class Client:
    """A device that takes the protocol page at its word and calls everything else a broken promise."""

    logs: dict[str, Log]
    cursors: dict[str, int] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    shown: dict[str, dict[str, Message]] = field(default_factory=dict)
    acked: dict[str, int] = field(default_factory=dict)
    epoch: str | None = None
    parted: bool = False
    """Whether this session said goodbye."""

    def take(self, frame: ServerFrame) -> None:
        """Do what the frame says."""
        match frame:
            case Welcome():
                self.epoch = frame.epoch
                self._listed = frame.conversations
                self._adopt_later = True
                for listed in frame.conversations:
                    self._adopt(listed)
            case Conversation():
                self._adopt(frame)
            case Reset():
                self._restart(frame.conversation)
            case Events():
                self._apply(frame)
            case Left():
                self._leave(frame)
            case Goodbye():
                self.parted = True
            case Error():
                raise Broken(f"an honest client is refused: {frame}")

    def forget(self) -> None:
        """Lose everything: what a new device has."""
        self.cursors, self.starts, self.shown, self.epoch = {}, {}, {}, None

    def _adopt(self, listed: Conversation | ConversationState) -> None:
        conversation = listed.conversation
        if conversation not in self.cursors:
            self.cursors[conversation] = self.starts[conversation] = listed.since

    def _restart(self, conversation: str) -> None:
        self.cursors[conversation] = self.starts[conversation] = 0
        self.shown.pop(conversation, None)

    def _apply(self, frame: Events) -> None:
        cursor = self.cursors[frame.conversation]
        if self.parted:
            raise Broken(f"changes follow the goodbye: {frame}")
        if frame.since > cursor:
            raise Broken(f"a client at {cursor} has to ask: {frame}")
        if frame.since < cursor or frame.upto <= frame.since:
            raise Broken(f"a client at {cursor} is told again: {frame}")
        judge(self.logs[frame.conversation], frame)
        shown = self.shown.setdefault(frame.conversation, {})
        shown.update((message.id, message) for message in frame.messages)
        self.cursors[frame.conversation] = frame.upto

    def _leave(self, frame: Left) -> None:
        ends = {stay.left for stay in self.logs[frame.conversation].stays}
        if frame.upto not in ends or self.cursors[frame.conversation] != frame.upto:
            raise Broken(f"this is not where the stay ended: {frame}")

    def lacks(self) -> list[Message]:
        """What of the truth this device should show, and does not."""
        return [
            message
            for log in self.logs.values()
            for message in log.newest.values()
            if self.starts.get(log.conversation, 0) < message.seq <= log.end
            and log.must_see(message)
            and self.shown.get(log.conversation, {}).get(message.id) != message
        ]


def judge(log: Log, frame: Events) -> None:
    """Hold one frame against the truth."""
    if frame.upto > log.end:
        raise Broken(f"something above the fence at {log.end}: {frame}")
    numbers = [message.seq for message in frame.messages]
    if numbers != sorted(set(numbers)) or any(not frame.since < n <= frame.upto for n in numbers):
        raise Broken(f"out of order or out of range: {numbers} in {frame}")
    for message in frame.messages:
        if log.changes[message.seq - 1] != message:
            raise Broken(f"no such change was made: {message}")
        if not log.may_see(message):
            raise Broken(f"a change that is hidden from this user: {message}")
    for change in log.changes[frame.since : frame.upto]:
        if change.seq not in numbers and log.must_see(change):
            raise Broken(f"change {change.seq} is passed over: {frame}")
