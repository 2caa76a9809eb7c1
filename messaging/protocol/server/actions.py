"""The values between the server's end of a session and whoever carries out what it decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from messaging.protocol import frames

Write: TypeAlias = frames.Send | frames.Edit | frames.Delete
AboutPresence: TypeAlias = frames.PresenceSet | frames.PresenceWatch


class Stored(NamedTuple):
    """Where a committed write stands; `repeated` tells a repeat of an earlier one. `created` is in ms."""

    message: str
    seq: int
    position: int
    version: int
    created: int
    repeated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Whom the session belongs to."""

    device: str
    user: str
    session: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A user's newest stay in a conversation. `delivered` and `read` are the device's stored marks, if any.

    Changes up to `purged` may be gone for real.
    """

    conversation: str
    kind: str
    title: str
    last_seq: int
    joined_seq: int
    left_seq: int | None = None
    since_joined: bool = False
    delivered: int | None = None
    read: int = 0
    purged: int = 0

    @property
    def first(self) -> int:
        """Where the feed of a device starts that knows nothing of this stay."""
        return max(self.joined_seq - 1, 0)

    @property
    def last(self) -> int:
        """The last change that this user may see, as of now."""
        return self.last_seq if self.left_seq is None else self.left_seq


class Authenticate(NamedTuple):
    """Find the device of this token, then call `open` or `close`."""

    token: str | None


class Submit(NamedTuple):
    """Write this, then call `settle` with the same frame."""

    frame: Write


class StoreMarks(NamedTuple):
    """Store these marks, then call `confirm` if there is a ref."""

    marks: list[frames.Mark]
    ref: str | int | None


class Read(NamedTuple):
    """Read the feed after `since` for the client's own `sync`, then call `answer_sync`."""

    frame: frames.Sync
    since: int


class SetPresence(NamedTuple):
    """Store how the session and its user are here, then call `confirm` or `decline` with the ref."""

    frame: frames.PresenceSet


class Watch(NamedTuple):
    """Watch these users for this session, and no others; then call `answer_watch` or `decline`."""

    frame: frames.PresenceWatch


class ShowTyping(NamedTuple):
    """Show the conversation's other members that this session's user is typing, or not any more."""

    frame: frames.Typing


Action: TypeAlias = Authenticate | Submit | StoreMarks | Read | SetPresence | Watch | ShowTyping


def about(frame: AboutPresence) -> SetPresence | Watch:
    """What is to be done for a request about presence."""
    return SetPresence(frame) if isinstance(frame, frames.PresenceSet) else Watch(frame)
