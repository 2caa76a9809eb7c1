"""What a client learns, as values: the core returns them, the application matches on them.

Nothing here was decided by the application; what it asked for ends in `Confirmed` or `Declined`,
exactly one of the two, once for each `client_id`.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from messaging.protocol.frames import (
    Delete,
    DeviceMark,
    Edit,
    Error,
    MarkSummary,
    Message,
    Send,
    UserPresence,
)

Request: TypeAlias = Send | Edit | Delete


class Happening(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something that the application may want to know."""


class Connected(Happening, frozen=True, kw_only=True):
    """A session is open; what was missed follows as `Applied`."""

    device: str
    user: str
    session: str


class Applied(Happening, frozen=True, kw_only=True):
    """Changes that are new to this device, in `seq` order; the cursor stands at `upto` now."""

    conversation: str
    messages: list[Message]
    upto: int


class Confirmed(Happening, frozen=True, kw_only=True):
    """The server took a request: it is committed at this place. `created` is in ms."""

    client_id: str
    conversation: str
    request: Request
    message: str
    seq: int
    position: int
    version: int
    created: int


class Declined(Happening, frozen=True, kw_only=True):
    """The server refused a request for good; `error` says why and, on a conflict, how the message is now."""

    client_id: str
    conversation: str
    request: Request
    error: Error


class MarksMoved(Happening, frozen=True, kw_only=True):
    """Devices of a conversation got on, or their summary did."""

    conversation: str
    marks: list[DeviceMark]
    summary: MarkSummary | None


class Joined(Happening, frozen=True, kw_only=True):
    """The user is in this conversation; its feed starts at `since`."""

    conversation: str
    kind: str
    title: str
    since: int
    last_seq: int


class LeftConversation(Happening, frozen=True, kw_only=True):
    """The user is no longer in the conversation; nothing after `upto` follows."""

    conversation: str
    upto: int


class Restarted(Happening, frozen=True, kw_only=True):
    """Forget what you have of the conversation: its feed starts anew from 0."""

    conversation: str


class PresenceChanged(Happening, frozen=True, kw_only=True):
    """These users are otherwise than before. `stale`: what is known of all may be wrong by now, until told again."""

    users: list[UserPresence]
    stale: bool


class TypingChanged(Happening, frozen=True, kw_only=True):
    """Another user began to type in a conversation, or stopped, or was not heard of for 6 s."""

    conversation: str
    user: str
    typing: bool


class PresenceAnswered(Happening, frozen=True, kw_only=True):
    """The server took what these calls of `set_presence` or `watch` asked, or refused it for good."""

    calls: list[int]
    error: Error | None


class Problem(Happening, frozen=True, kw_only=True):
    """The server refused something that was no request of the outbox."""

    error: Error


class Disconnected(Happening, frozen=True, kw_only=True):
    """The connection ended. `retry_in` is in ms; None: the client will not come back, see `reason`."""

    code: int
    reason: str
    retry_in: float | None


AnyHappening: TypeAlias = (
    Connected
    | Applied
    | Confirmed
    | Declined
    | MarksMoved
    | Joined
    | LeftConversation
    | Restarted
    | PresenceChanged
    | TypingChanged
    | PresenceAnswered
    | Problem
    | Disconnected
)
