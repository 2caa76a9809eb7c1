"""The lines of a history: one event each, a JSON array that begins with the event's name.

Laws: an event is written when it happened and never changed; `t` and every other moment is an
integer of nanoseconds of CLOCK_MONOTONIC, which all processes of one host share; what a device
received is recorded as it came, before any rule was applied to it, so that the checker applies
the rules by itself. Devices go by their number in the run; `DeviceMade` says who that is.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import msgspec

Conversation: TypeAlias = str
"""The id of a conversation."""

DeviceNumber: TypeAlias = int
"""A device of the run, from 1; numbers are unique over all of its files."""


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Something that happened at `t`."""

    t: int


class RunBegan(Event, frozen=True, array_like=True, tag="run"):
    """The first line of every file. `run` begins every client_id that the run makes."""

    run: str
    scenario: str
    seed: int
    worker: int = 0
    full: bool = True  # False in capacity phases: receipts and marks are not recorded


class DeviceMade(Event, frozen=True, array_like=True, tag="device"):
    """A device joined the run."""

    device: DeviceNumber
    id: str
    user: str


class Greeted(Event, frozen=True, array_like=True, tag="hello"):
    """A device said hello: from here on the server may have a session of it, until the connection ends."""

    device: DeviceNumber


class Opened(Event, frozen=True, array_like=True, tag="open"):
    """A session was welcomed. `hello` are the cursors that the client said, `welcome` where the
    server said that each listed conversation's feed begins."""

    device: DeviceNumber
    session: str
    hello: dict[Conversation, int]
    welcome: dict[Conversation, int]


class Closed(Event, frozen=True, array_like=True, tag="close"):
    """A connection ended. `by` whom: the run itself ("rig") or the other side ("server")."""

    device: DeviceNumber
    code: int
    by: Literal["rig", "server"]


class Sent(Event, frozen=True, array_like=True, tag="send"):
    """An operation was begun: its first attempt (retries keep the key). `intended` is when the plan
    wanted it; `digest` and `envelope` are those of `recorder.py`; edits and deletions name their `message`."""

    device: DeviceNumber
    intended: int
    client_id: str
    conversation: Conversation
    digest: int
    what: Literal["send", "edit", "delete"] = "send"
    message: str | None = None
    envelope: int = 0


class Acked(Event, frozen=True, array_like=True, tag="ok"):
    """The server promised that the operation is stored, and where."""

    device: DeviceNumber
    client_id: str
    message: str
    seq: int
    position: int
    version: int


class Refused(Event, frozen=True, array_like=True, tag="refused"):
    """An attempt was refused. `definite`: it did not happen; `final`: the client has given up."""

    device: DeviceNumber
    client_id: str
    code: str
    definite: bool
    final: bool


class Change(NamedTuple):
    """One message as a frame of changes, a REST page or the database shows it.

    `digest` (0 when it is deleted), `envelope`, `origin` and `details` are those of `recorder.py`; `device` is the
    sender's id.
    """

    seq: int
    id: str
    position: int
    version: int
    device: str | None
    client_id: str | None
    digest: int
    deleted: bool = False
    envelope: int = 0
    origin: int = 0
    details: int = 0


class Page(Event, frozen=True, array_like=True, tag="page"):
    """The content of a frame of changes in (since, upto], written once per distinct content:
    devices of a conversation get the same frames. `page` numbers it within its file."""

    page: int
    conversation: Conversation
    since: int
    upto: int
    changes: tuple[Change, ...]


class Delivered(Event, frozen=True, array_like=True, tag="got"):
    """A frame of changes arrived at a device, whether or not it brings it anything new."""

    device: DeviceNumber
    page: int


class Marked(Event, frozen=True, array_like=True, tag="mark"):
    """A device said how far it has received and read."""

    device: DeviceNumber
    conversation: Conversation
    delivered: int
    read: int


class MarkSeen(Event, frozen=True, array_like=True, tag="seen"):
    """A device was told another's marks. `of` is the id of the device that they are of."""

    device: DeviceNumber
    conversation: Conversation
    of: str
    delivered: int
    read: int


class Added(Event, frozen=True, array_like=True, tag="added"):
    """A device was told that its user is in a conversation now, and where its feed begins."""

    device: DeviceNumber
    conversation: Conversation
    since: int


class Removed(Event, frozen=True, array_like=True, tag="removed"):
    """A device was told that its user has left: nothing above `upto` is for it."""

    device: DeviceNumber
    conversation: Conversation
    upto: int


class Reset(Event, frozen=True, array_like=True, tag="reset"):
    """A device was told to forget a conversation and begin at 0."""

    device: DeviceNumber
    conversation: Conversation


class Revoked(Event, frozen=True, array_like=True, tag="revoked"):
    """A call to revoke a device has answered at `t`: from then on it gets nothing."""

    id: str  # of the device


class Fetched(Event, frozen=True, array_like=True, tag="fetch"):
    """A device read a page of a conversation over REST: asked at `asked`, answered at `t`,
    newest first by `position`, everything below `before` (None: from the newest)."""

    device: DeviceNumber
    asked: int
    conversation: Conversation
    before: int | None
    changes: tuple[Change, ...]


class PresenceSeen(Event, frozen=True, array_like=True, tag="presence"):
    """A device was told that a user is online, away or offline. `version` rises with each change."""

    device: DeviceNumber
    user: str
    state: Literal["online", "away", "offline"]
    version: int


class PresenceStale(Event, frozen=True, array_like=True, tag="stale"):
    """A device was told that all it knows of presence may be wrong, or no longer is (`stale` false)."""

    device: DeviceNumber
    stale: bool


class Cursors(Event, frozen=True, array_like=True, tag="cursors"):
    """Where the client itself believed to be when the run ended."""

    device: DeviceNumber
    cursors: dict[Conversation, int]
    connected: bool


class Fault(Event, frozen=True, array_like=True, tag="fault"):
    """A fault began, was felt (`effect` says by how much), or was healed."""

    name: str
    phase: Literal["begin", "felt", "end"]
    target: str = ""
    effect: dict[str, float] = {}


class Unreached(Event, frozen=True, array_like=True, tag="unreached"):
    """By the record of a fault, from `since` to `until` (None: to be said) nothing reaches a device (`untold`), or what
    it says, and that it goes, reaches nobody (`unheard`); if its connection is `lost`, no longer than that."""

    device: DeviceNumber
    since: int
    until: int | None
    untold: bool
    unheard: bool
    lost: bool = False


class RunEnded(Event, frozen=True, array_like=True, tag="end"):
    """The file is whole. A file without this line was cut off."""

    reason: str = "done"


AnyEvent: TypeAlias = (
    RunBegan
    | DeviceMade
    | Greeted
    | Opened
    | Closed
    | Sent
    | Acked
    | Refused
    | Page
    | Delivered
    | Marked
    | MarkSeen
    | Added
    | Removed
    | Reset
    | Revoked
    | Fetched
    | PresenceSeen
    | PresenceStale
    | Cursors
    | Fault
    | Unreached
    | RunEnded
)


class StoredConversation(msgspec.Struct, frozen=True, array_like=True, tag="conversation"):
    """What the database has of a conversation: `changes` beyond `since`, in `seq` order."""

    conversation: Conversation
    since: int
    last_seq: int
    history: Literal["all", "since_joined"]
    changes: tuple[Change, ...]


class Stay(msgspec.Struct, frozen=True, array_like=True, tag="stay"):
    """A user's stay in a conversation: joined with change `joined`, left with `left` (None: is in)."""

    conversation: Conversation
    user: str
    joined: int
    left: int | None


class StoredMark(msgspec.Struct, frozen=True, array_like=True, tag="mark"):
    """A device's marks as they are stored."""

    conversation: Conversation
    device: str
    delivered: int
    read: int


AnyStored: TypeAlias = StoredConversation | Stay | StoredMark
