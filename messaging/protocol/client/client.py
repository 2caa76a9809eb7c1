"""What the client's end of a session decides: frames and moments in, frames and happenings out.

No I/O, no clock: every moment is a number of ms of one monotonic clock, and is passed in. Laws:
an `events` frame is applied only where its range meets the cursor; a request stays in the outbox
until the server settles it, and each repeat carries the same `client_id`; marks never go back.
Call a verb or an input, send what `due` returns, call `due` again at `deadline`.
"""

from __future__ import annotations

import enum
import random as _random
from collections.abc import Callable, Sequence
from typing import ClassVar

from messaging.protocol import frames
from messaging.protocol.client.acks import Acks
from messaging.protocol.client.happenings import (
    AnyHappening,
    Applied,
    Connected,
    Disconnected,
    Joined,
    LeftConversation,
    MarksMoved,
    Problem,
    Restarted,
)
from messaging.protocol.client.holes import AGAIN_MS, Holes
from messaging.protocol.client.outbox import Outbox
from messaging.protocol.client.patience import Patience, Silence
from messaging.protocol.client.presence import Presence
from messaging.protocol.client.reconnect import LOST, Backoff, may_return, repeat_ms
from messaging.protocol.client.saved import Saved, not_ours

WELCOME_MS = 10_000.0  # a connection that has not said welcome by then is dead
NOT_OURS = 1008  # RFC 6455, a violated policy: what is stored is another's


class Phase(enum.Enum):
    """Where a client stands."""

    CLOSED = "closed"  # no connection is wanted
    CONNECTING = "connecting"  # the shell is to open a socket
    GREETING = "greeting"  # hello is said
    OPEN = "open"  # welcome is heard
    WAITING = "waiting"  # the connection ended; `deadline` is the moment to connect again
    STOPPED = "stopped"  # the server said: do not come back


class Client:
    """The rules of one device, for as many connections as it takes."""

    def __init__(
        self,
        *,
        token: str | None = None,
        saved: Saved | None = None,
        random: Callable[[], float] = _random.random,
        patience: Patience | None = None,
    ) -> None:
        saved = saved or Saved()
        self.token, self._random = token, random
        self.phase, self.reason = Phase.CLOSED, ""
        self.device, self.user, self.epoch = saved.device, saved.user, saved.epoch
        self.cursors, self.reads = dict(saved.cursors), dict(saved.reads)
        self.left = dict(saved.left)
        self.purged = dict(saved.purged)  # what was gone where the cursor has not passed it since
        # An ordered set of conversations whose marks the server may not have.
        self.unsettled = dict.fromkeys(saved.unsettled)
        self.outbox = Outbox()
        self.send, self.edit, self.delete = self.outbox.send, self.outbox.edit, self.outbox.delete
        for conversation, request in saved.outbox:
            self.outbox.add(request, conversation)
        self.presence = Presence()
        self.set_presence, self.watch = self.presence.wishes.set, self.presence.wishes.watch
        self.typing = self.presence.typists.say
        self._backoff, self._patience = Backoff(random), patience or Patience()
        self._happened: list[AnyHappening] = []
        self._begin()

    def _begin(self) -> None:
        """Forget everything that belongs to one connection only."""
        self._acks = Acks()
        self._frames: list[frames.Frame] = []
        self._farewell: frames.Goodbye | None = None
        self._holes = Holes()
        self._silence = Silence(self._patience)
        self._give_up: float | None = None  # ms at which a connection without welcome is given up
        self._come_back: float | None = None  # ms of the next connect
        self._happened += self.presence.lose()

    # What the application asks

    def read(self, conversation: str, upto: int | None = None) -> None:
        """The user has seen everything up to `upto` (None: all that arrived); never beyond it, never back."""
        cursor = self.cursors.get(conversation, 0)
        mark = cursor if upto is None else min(upto, cursor)
        if mark > self.reads.get(conversation, 0) and conversation not in self.left:
            self.reads[conversation] = mark
            self._owe(conversation)

    # What the connection tells

    def connect(self, now: float) -> None:
        """A connection is wanted: the shell is to open a socket."""
        if self.phase in (Phase.CLOSED, Phase.WAITING, Phase.STOPPED):
            self.phase, self._come_back = Phase.CONNECTING, None
            self._give_up = now + WELCOME_MS

    def disconnect(self) -> None:
        """No connection is wanted any more; the shell is to close the socket."""
        self._begin()
        self.phase = Phase.CLOSED

    def opened(self, now: float) -> None:
        """The socket is open: say hello, unless it is not wanted any more."""
        if self.phase is not Phase.CONNECTING:
            return
        self.phase = Phase.GREETING
        self._silence.broken(now)
        below = {one: n for one, n in self.purged.items() if self.cursors.get(one, 0) < n}
        self.purged = below
        self._frames.append(
            frames.Hello(
                token=self.token, cursors=dict(self.cursors), purged=dict(below), epoch=self.epoch
            )
        )

    def closed(self, code: int, now: float, *, reason: str = "") -> list[AnyHappening]:
        """The socket is gone, with this close code; 1005 or 1006 if it ended without a word. `reason` is for people."""
        if self.phase in (Phase.CLOSED, Phase.STOPPED, Phase.WAITING):
            return []
        farewell, wait = self._farewell, None
        self._begin()
        reason = reason or f"The connection ended with code {code}."
        self.reason = farewell.message if farewell else reason
        if may_return(code):
            wait = self._backoff.wait(farewell)
            self.phase, self._come_back = Phase.WAITING, now + wait
        else:
            self.phase = Phase.STOPPED
        self._happened.append(Disconnected(code=code, reason=self.reason, retry_in=wait))
        return self.happened()

    # What time brings

    @property
    def deadline(self) -> float | None:
        """The moment (ms) at which `due` is to be called next, or None."""
        if self.phase is not Phase.OPEN:
            return self._come_back if self.phase is Phase.WAITING else self._give_up
        others = (
            self._silence.ping,
            self._silence.end,
            self._acks.deadline,
            self.outbox.deadline,
            self._holes.deadline,
            self.presence.deadline,
        )
        return min(moment for moment in others if moment is not None)

    def due(self, now: float) -> list[frames.Frame]:
        """The frames to send at this moment. The phase may change: a dead connection, the end of a wait."""
        if self.phase is Phase.OPEN:
            self._due_open(now)
        elif self._come_back is not None and now >= self._come_back:
            self.connect(now)
        end = self._silence.end if self.phase is Phase.OPEN else self._give_up
        if end is not None and now >= end:
            self._farewell = None
            self._happened = self.closed(LOST, now)
        going, self._frames = self._frames, []
        return going

    def _due_open(self, now: float) -> None:
        for conversation in self._holes.due(now):
            self._mend(conversation)
        if owed := self._acks.take(now):
            self._frames.append(
                frames.Receipt(marks=[self._mark(conversation) for conversation in owed])
            )
        requests = self.outbox.ready(now) if self.outbox else []
        if requests:
            self._silence.asked(now)
        self._frames += [*requests, *self.presence.due(now, requests)]
        self._happened += self.presence.typists.over(now)
        if (ping := self._silence.ping) is not None and now >= ping:
            self._silence.pinged(now)
            self._frames.append(frames.Ping())

    # What the server says

    def received(
        self, message: Sequence[frames.ServerFrame], now: float, *, size: int = 0
    ) -> list[AnyHappening]:
        """Take the frames of one WebSocket message of `size` bytes."""
        if self.phase not in (Phase.OPEN, Phase.GREETING):
            return []
        self._silence.broken(now)
        self._acks.bytes += size
        for frame in message:
            if self.phase in (Phase.OPEN, Phase.GREETING):
                self._TAKE[type(frame)](self, frame)
        return self.happened()

    def happened(self) -> list[AnyHappening]:
        """What came of `due`, which returns frames only."""
        happened, self._happened = self._happened, []
        return happened

    def _on_welcome(self, frame: frames.Welcome) -> None:
        if why := not_ours(frame, user=self.user, device=self.device, epoch=self.epoch):
            self._happened = self.closed(NOT_OURS, self._silence.heard, reason=why)
            return
        self._happened.append(
            Connected(device=frame.device, user=frame.user, session=frame.session)
        )
        if self.epoch is not None and self.epoch != frame.epoch:
            # In one step with the epoch: a connection lost before `reset` must not leave old cursors under it.
            self.purged.clear()
            for conversation in list(self.cursors):
                self._restart(conversation)
        self.device, self.user, self.epoch = frame.device, frame.user, frame.epoch
        self.phase, self.reason, self._give_up = Phase.OPEN, "", None
        self._backoff.attempts = 0
        self._acks.max_messages, self._acks.max_bytes = frame.window.messages, frame.window.bytes
        self.outbox.start(max_requests=frame.limits.requests, max_bytes=frame.limits.frame_bytes)
        self.presence.begin()
        for listed in frame.conversations:
            self._list(listed)
        self._acks.owed.update(self.unsettled)

    def _on_conversation(self, frame: frames.Conversation) -> None:
        self._list(frame)

    def _list(self, it: frames.ConversationState | frames.Conversation) -> None:
        self.left.pop(it.conversation, None)
        self.cursors.setdefault(it.conversation, it.since)
        self._happened.append(
            Joined(
                conversation=it.conversation,
                kind=it.kind,
                title=it.title,
                since=it.since,
                last_seq=it.last_seq,
            )
        )

    def _on_left(self, frame: frames.Left) -> None:
        if self.left.get(frame.conversation) == frame.upto:
            return  # it is said after each welcome
        # The cursor stays: who is added again goes on where they left, without a hole.
        self.left[frame.conversation] = frame.upto
        self._drop(frame.conversation)
        self._happened.append(LeftConversation(conversation=frame.conversation, upto=frame.upto))

    def _on_reset(self, frame: frames.Reset) -> None:
        self._restart(frame.conversation)
        self.purged[frame.conversation] = frame.purged

    def _restart(self, conversation: str) -> None:
        if self.cursors.get(conversation) == 0:
            return
        self.cursors[conversation] = 0
        self.reads.pop(conversation, None)
        self.left.pop(conversation, None)
        self._drop(conversation)
        self._happened.append(Restarted(conversation=conversation))

    def _drop(self, conversation: str) -> None:
        self._holes.drop(conversation)
        self._acks.owed.pop(conversation, None)
        self.unsettled.pop(conversation, None)
        self._happened += self.presence.typists.leave(conversation)

    def _on_events(self, frame: frames.Events) -> None:
        conversation, messages = frame.conversation, frame.messages
        cursor = self.cursors.setdefault(conversation, frame.since)
        if frame.ref is not None:
            self._holes.answered(conversation, frame.ref)
        self._acks.messages += len(messages)
        if frame.since > cursor:
            self._holes.beyond(conversation, frame.upto)
        elif frame.upto > cursor:
            if frame.since < cursor:
                messages = [message for message in messages if message.seq > cursor]
            self.cursors[conversation] = frame.upto
            self._happened.append(
                Applied(conversation=conversation, messages=messages, upto=frame.upto)
            )
            self._happened += self.presence.typists.arrived(conversation, messages)
            if self.outbox:
                self._confirm_own(messages)
        if self._holes:
            self._mend(conversation)
        if frame.upto <= self.cursors[conversation]:
            self._owe(conversation)  # an ignored frame too: the server counted it

    def _confirm_own(self, messages: list[frames.Message]) -> None:
        """The feed shows our own message before, or instead of, its `ok`."""
        for message in messages:
            entry = self.outbox.entries.get(message.client_id or "")
            if (
                entry is None
                or message.device != self.device
                or not isinstance(entry.request, frames.Send)
            ):
                continue
            self.outbox.settle(entry.client_id)
            self._happened.append(entry.confirmed(message.id, message))

    def _mend(self, conversation: str) -> None:
        cursor = self.cursors[conversation]
        ref = self._holes.question(conversation, cursor)
        if ref is not None:
            self._frames.append(frames.Sync(conversation=conversation, since=cursor, ref=ref))

    def _on_receipts(self, frame: frames.Receipts) -> None:
        if frame.conversation in self.unsettled:
            mine = next((mark for mark in frame.marks if mark.device == self.device), None)
            if mine is not None and self._is_settled(frame.conversation, mine):
                del self.unsettled[frame.conversation]
        self._happened.append(
            MarksMoved(conversation=frame.conversation, marks=frame.marks, summary=frame.summary)
        )

    def _is_settled(self, conversation: str, mark: frames.DeviceMark) -> bool:
        read = self.reads.get(conversation, 0)
        return mark.delivered >= self.cursors.get(conversation, 0) and mark.read >= read

    def _on_ok(self, frame: frames.Ok) -> None:
        entry = self.outbox.settle(frame.client_id)
        if entry is not None:
            self._happened.append(entry.confirmed(frame.message or "", frame))
        else:
            self._happened += self.presence.wishes.answered(frame.ref)

    def _on_error(self, frame: frames.Error) -> None:
        entry = self.outbox.entries.get(frame.client_id or "")
        if entry is None:
            self._on_other_error(frame)
        elif frame.retry_after is not None:
            wait = self._jittered(frame.retry_after, self.outbox.refusals(entry.conversation))
            self.outbox.hold(entry.client_id, until=self._silence.heard + wait)
        else:
            self.outbox.settle(entry.client_id)
            self._happened.append(entry.declined(frame))

    def _on_other_error(self, frame: frames.Error) -> None:
        again = None
        if frame.retry_after is not None:
            again = self._silence.heard + self._jittered(max(frame.retry_after, AGAIN_MS))
        if self.presence.wishes.has(frame.ref):
            self._happened += self.presence.wishes.refused(frame, again=again)
        elif not self._holes.refused(frame.ref, again=again) or again is None:
            self._happened.append(Problem(error=frame))

    def _jittered(self, retry_after: float, refusals: int = 0) -> float:
        return repeat_ms(retry_after, refusals, self._random)

    def _on_presence(self, frame: frames.Presence | frames.Typed) -> None:
        self._happened += self.presence.heard(frame, self._silence.heard)

    def _on_pong(self, _: frames.Pong) -> None:
        """That anything was heard is all it says."""

    def _on_goodbye(self, frame: frames.Goodbye) -> None:
        self._farewell = frame

    _TAKE: ClassVar[dict[type, Callable[..., None]]] = {
        frames.Welcome: _on_welcome,
        frames.Ok: _on_ok,
        frames.Error: _on_error,
        frames.Events: _on_events,
        frames.Receipts: _on_receipts,
        frames.Conversation: _on_conversation,
        frames.Left: _on_left,
        frames.Reset: _on_reset,
        frames.Presence: _on_presence,
        frames.Typed: _on_presence,
        frames.Pong: _on_pong,
        frames.Goodbye: _on_goodbye,
    }

    # Marks

    def _owe(self, conversation: str) -> None:
        self._acks.owed[conversation] = None
        self.unsettled[conversation] = None

    def _mark(self, conversation: str) -> frames.Mark:
        read = self.reads.get(conversation, 0)
        return frames.Mark(
            conversation=conversation, delivered=self.cursors.get(conversation, 0), read=read
        )
