"""What one device tells the history: each call is one event, as it happened. Moments are seconds of `clock`."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic as clock
from typing import Literal

from messaging.protocol import frames
from perf.history.events import (
    Acked,
    Added,
    Closed,
    Cursors,
    Delivered,
    Greeted,
    Marked,
    MarkSeen,
    Opened,
    PresenceSeen,
    PresenceStale,
    Refused,
    Removed,
    Reset,
    Sent,
)
from perf.history.recorder import Recorder, digest, envelope

__all__ = ["WHAT", "Testimony", "clock"]


WHAT: dict[type, Literal["send", "edit", "delete"]] = {
    frames.Send: "send",
    frames.Edit: "edit",
    frames.Delete: "delete",
}
"""What each request is called in a history."""


def nanoseconds(moment: float) -> int:
    """A moment as the history has it."""
    return int(moment * 1e9)


def _envelope(request: frames.Send) -> int:
    return envelope(request.kind, request.reply_to, request.attachments)


class Testimony:
    """The events of one device, under its number in the run."""

    __slots__ = ("_connected", "_record", "_shown", "_stale", "full", "number")

    def __init__(self, recorder: Recorder, *, device: str, user: str) -> None:
        self.number = recorder.device(id=device, user=user)
        self.full = recorder.full
        self._record = recorder.record
        self._shown = 0
        self._stale = self._connected = False

    def greeted(self, now: float) -> None:
        """The device said hello; nothing that it was told before holds in the session to come."""
        self._stale, self._connected = False, True
        self._record(Greeted(t=nanoseconds(now), device=self.number))

    def opened(self, frame: frames.Welcome, hello: Mapping[str, int], now: float) -> None:
        """The session was welcomed."""
        begins = {listed.conversation: listed.since for listed in frame.conversations}
        self._record(
            Opened(
                t=nanoseconds(now),
                device=self.number,
                session=frame.session,
                hello=dict(hello),
                welcome=begins,
            )
        )

    def closed(self, code: int, now: float, *, by: Literal["rig", "server"]) -> None:
        """The connection ended, whether or not it was welcomed; one that said no hello is none."""
        if self._connected:
            self._connected = False
            self._record(Closed(t=nanoseconds(now), device=self.number, code=code, by=by))

    def sent(
        self,
        request: frames.Send | frames.Edit | frames.Delete,
        conversation: str,
        now: float,
        *,
        intended: float,
    ) -> None:
        """A request was begun."""
        self._record(
            Sent(
                t=nanoseconds(now),
                device=self.number,
                intended=nanoseconds(intended),
                client_id=request.client_id,
                conversation=conversation,
                digest=0 if isinstance(request, frames.Delete) else digest(request.body),
                what=WHAT[type(request)],
                message=None if isinstance(request, frames.Send) else request.message,
                envelope=_envelope(request) if isinstance(request, frames.Send) else 0,
            )
        )

    def acked(self, frame: frames.Ok, now: float) -> None:
        """A request was promised to be stored."""
        self._record(
            Acked(
                t=nanoseconds(now),
                device=self.number,
                client_id=frame.client_id or "",
                message=frame.message or "",
                seq=frame.seq or 0,
                position=frame.position or 0,
                version=frame.version or 0,
            )
        )

    def refused(self, frame: frames.Error, now: float, *, final: bool) -> None:
        """A request was refused."""
        self._record(
            Refused(
                t=nanoseconds(now),
                device=self.number,
                client_id=frame.client_id or "",
                code=frame.code,
                definite=frame.definite,
                final=final,
            )
        )

    def delivered(self, page: int, t: int) -> None:
        """A frame of changes arrived, new or not; `t` in ns, because this is called most."""
        self._record(Delivered(t, self.number, page))

    def marked(self, frame: frames.Receipt, now: float) -> None:
        """The device says how far it is."""
        if self.full:
            t = nanoseconds(now)
            for mark in frame.marks:
                self._record(Marked(t, self.number, mark.conversation, mark.delivered, mark.read))

    def seen(self, frame: frames.Receipts, now: float) -> None:
        """The device is told how far others are."""
        if self.full:
            t, conversation = nanoseconds(now), frame.conversation
            for mark in frame.marks:
                self._record(
                    MarkSeen(t, self.number, conversation, mark.device, mark.delivered, mark.read)
                )

    def shown(self, frame: frames.Presence, now: float) -> None:
        """The device is shown how some users are. While that is stale, it is not said to be so."""
        if not self.full:
            return
        t = nanoseconds(now)
        if frame.stale != self._stale:
            self._stale = frame.stale
            self._record(PresenceStale(t, self.number, frame.stale))
        if not frame.stale:
            for entry in frame.users:
                self._shown += 1
                self._record(PresenceSeen(t, self.number, entry.user, entry.state, self._shown))

    def told(self, frame: frames.Conversation | frames.Left | frames.Reset, now: float) -> None:
        """The device is told of a conversation: that it is in it, was in it, or must begin anew."""
        t, conversation = nanoseconds(now), frame.conversation
        match frame:
            case frames.Conversation():
                self._record(Added(t, self.number, conversation, frame.since))
            case frames.Left():
                self._record(Removed(t, self.number, conversation, frame.upto))
            case frames.Reset():
                self._record(Reset(t, self.number, conversation))

    def ended(self, cursors: Mapping[str, int], now: float, *, connected: bool) -> None:
        """The run is over, and the device believes to be there."""
        self._record(
            Cursors(
                t=nanoseconds(now),
                device=self.number,
                cursors=dict(cursors),
                connected=connected,
            )
        )
