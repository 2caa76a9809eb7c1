"""Every frame of the wire as a frozen value that parses, serializes and describes itself.

A WebSocket message carries one frame, or an array of frames to be taken in order. Ids are lower-case
UUID strings, times are integer milliseconds since the Unix epoch, sequence numbers count a conversation's
changes from 1. What a frame *means* is decided in `server` and `client`; how a refusal reads is in `errors`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

Sequence: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
"""A conversation's change number; 0 stands before the first change."""

MAX_KEY = 64  # characters of a client_id
Key: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KEY)]
"""A client-made idempotency key, unique for the device for ever."""

Id: TypeAlias = Annotated[
    str, msgspec.Meta(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", max_length=36)
]
"""A lower-case UUID."""

# Bounded, because the answer repeats it; a number within what every JSON parser keeps exactly.
Reference: TypeAlias = (
    Annotated[str, msgspec.Meta(max_length=64)]
    | Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
)
"""Made by the client, echoed by the answer."""

MAX_BODY_BYTES = 65_536  # UTF-8 bytes of one message body; larger content belongs in a file
MAX_FRAME_BYTES = 1_048_576  # bytes of a client's WebSocket message; a server's may be larger
# Four times the requests that may be unanswered: a MiB of bad frames, 25 microseconds each, stopped a server for 25 s.
MAX_BATCH = 1_024  # frames in one WebSocket message from a client
MAX_ATTACHMENTS = 10  # files of one message: with 300 bytes each they add 3 KiB to a frame
MAX_PAGE = 500  # messages in one answer to `sync`: about 100 KiB of chat
MAX_STATUS = 140  # characters of a presence text: a line beside a name
MAX_WATCHED = 200  # users in one watch list: more than a screen shows

Milliseconds: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]
"""A moment since 1970, up to the end of the year 9999: what every peer's calendar holds."""

Here: TypeAlias = Literal["online", "away"]
State: TypeAlias = Literal["online", "away", "offline"]


class Frame(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """What crosses the socket; the tag `type` names it."""

    @classmethod
    def tag(cls) -> str:
        """The `type` of such frames on the wire."""
        return str(cls.__struct_config__.tag)

    @property
    def name(self) -> str:
        """The frame's `type` on the wire."""
        return self.tag()

    def __str__(self) -> str:
        shown = msgspec.structs.asdict(self)
        shown.pop("token", None)  # whoever logs a frame logs no secret
        facts = " ".join(f"{key}={_short(value)}" for key, value in shown.items() if value)
        return f"{self.name} {facts}".rstrip()


def _short(value: object, most: int = 40) -> str:
    text = f"[{len(value)}]" if isinstance(value, (list, tuple, dict)) else str(value)
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of frames that never stands alone on the wire."""


class Attachment(Value, frozen=True, kw_only=True):
    """A file of a message; its content is at `GET /api/files/{id}`, for who may read the message."""

    id: str
    name: str
    size: int
    type: str
    sha256: str


class Message(Value, frozen=True, kw_only=True):
    """A message in its newest state. Feeds are ordered by `seq`; screens by `position`."""

    id: str
    seq: int
    position: int
    kind: str = "text"
    body: str = ""
    version: int = 1
    created: int = 0
    device: str | None = None
    user: str | None = None
    client_id: str | None = None
    reply_to: str | None = None
    edited: int | None = None
    deleted: int | None = None
    attachments: tuple[Attachment, ...] = ()


class Mark(Value, frozen=True, kw_only=True):
    """One device's cumulative receipt: everything up to and including the number."""

    conversation: Id
    delivered: Sequence = 0
    read: Sequence = 0


class DeviceMark(Value, frozen=True, kw_only=True):
    """How far one device of a conversation has got, and when its marks last moved."""

    device: str
    user: str
    delivered: int = 0
    read: int = 0
    delivered_at: int | None = None
    read_at: int | None = None


class MarkSummary(Value, frozen=True, kw_only=True):
    """The marks of a conversation with more than 100 devices, by count."""

    last_seq: int
    devices: int
    delivered: int
    read: int
    lowest_delivered: int
    lowest_read: int


class ConversationState(Value, frozen=True, kw_only=True):
    """A conversation as `welcome` lists it; `since` is where this session's feed starts."""

    conversation: str
    kind: str
    since: int
    last_seq: int
    title: str = ""


class Window(Value, frozen=True, kw_only=True):
    """How much may be sent to this session before it acknowledges."""

    messages: int
    bytes: int


class Limits(Value, frozen=True, kw_only=True):
    """What the server accepts from one session."""

    body_bytes: int
    frame_bytes: int
    requests: int


class DevicePresence(Value, frozen=True, kw_only=True):
    """How one of the user's own devices is here."""

    device: str
    state: State


class UserPresence(Value, frozen=True, kw_only=True):
    """How a user is here, folded from all devices. Absent fields say that there is nothing to tell."""

    user: str
    state: State
    text: str = ""
    until: int | None = None
    last_seen: int | None = None
    invisible: bool = False
    devices: list[DevicePresence] = []


# Client -> server


class Hello(Frame, frozen=True, kw_only=True, tag="hello"):
    """Opens the session. `cursors` says what this device has; a conversation left out resumes from the stored mark."""

    token: str | None = None
    cursors: dict[Id, Sequence] = {}
    purged: dict[Id, Sequence] = {}
    epoch: str | None = None
    auto_ack: bool = False
    ref: Reference | None = None


class Send(Frame, frozen=True, kw_only=True, tag="send"):
    """Appends a message. A repeat with the same `client_id` and content stores nothing more, and is told where that is now."""

    conversation: Id
    client_id: Key
    body: str
    kind: Literal["text", "data"] = "text"
    reply_to: Id | None = None
    attachments: Annotated[tuple[Id, ...], msgspec.Meta(max_length=MAX_ATTACHMENTS)] = ()
    ref: Reference | None = None


class Edit(Frame, frozen=True, kw_only=True, tag="edit"):
    """Replaces a message's body if it is still at `base_version`."""

    message: Id
    base_version: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    client_id: Key
    body: str
    ref: Reference | None = None


class Delete(Frame, frozen=True, kw_only=True, tag="delete"):
    """Turns a message into a tombstone if it is still at `base_version`."""

    message: Id
    base_version: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    client_id: Key
    ref: Reference | None = None


class Receipt(Frame, frozen=True, kw_only=True, tag="receipt"):
    """Acknowledges: `delivered` gives credit back, both marks are stored and shown to the others."""

    marks: Annotated[list[Mark], msgspec.Meta(max_length=10_000)]
    ref: Reference | None = None


class Sync(Frame, frozen=True, kw_only=True, tag="sync"):
    """Asks for a conversation's changes after `since`, or after what this session was sent if that is less. Takes credit."""

    conversation: Id
    since: Sequence
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] = 200
    ref: Reference | None = None


class PresenceSet(Frame, frozen=True, kw_only=True, tag="presence.set"):
    """Says how this session is here (`state`), and the user's text and visibility. What is left out stays as it is."""

    state: Here | None = None
    text: Annotated[str, msgspec.Meta(max_length=MAX_STATUS)] | None = None
    until: Milliseconds | None = None
    invisible: bool | None = None
    ref: Reference | None = None


class PresenceWatch(Frame, frozen=True, kw_only=True, tag="presence.watch"):
    """Replaces this session's watch list; answered by `presence`. Watched anyway: yourself, and the members of small conversations."""

    users: Annotated[list[Id], msgspec.Meta(max_length=MAX_WATCHED)]
    ref: Reference | None = None


class Typing(Frame, frozen=True, kw_only=True, tag="typing"):
    """The user is typing, or not any more. Never stored, never answered unless it is wrong."""

    conversation: Id
    typing: bool = True


class Ping(Frame, frozen=True, kw_only=True, tag="ping"):
    """Asks for a `pong`."""

    ref: Reference | None = None


# Server -> client


class Welcome(Frame, frozen=True, kw_only=True, tag="welcome"):
    """The session is open. Listed are conversations whose `last_seq` differs from the cursor or that `hello` had no cursor for; more may follow as `conversation`."""

    device: str
    user: str
    session: str
    epoch: str
    window: Window
    limits: Limits
    conversations: list[ConversationState] = []
    ref: Reference | None = None


class Ok(Frame, frozen=True, kw_only=True, tag="ok"):
    """The request is committed. For `send`, `edit` and `delete` it names the message's place."""

    ref: Reference | None = None
    client_id: str | None = None
    message: str | None = None
    seq: int | None = None
    position: int | None = None
    version: int | None = None
    created: int | None = None


class Error(Frame, frozen=True, kw_only=True, tag="error"):
    """A refusal. `definite` means that the request certainly had no effect; `retry_after` (ms) that it may be repeated then."""

    code: str
    message: str
    definite: bool = True
    retry_after: int | None = None
    ref: Reference | None = None
    client_id: str | None = None
    current: Message | None = None


class Events(Frame, frozen=True, kw_only=True, tag="events"):
    """The changes of a conversation in (since, upto], in `seq` order."""

    conversation: str
    since: int
    upto: int
    messages: list[Message] = []
    ref: Reference | None = None


class Receipts(Frame, frozen=True, kw_only=True, tag="receipts"):
    """Marks of a conversation's devices that moved, or their summary above 100 devices."""

    conversation: str
    marks: list[DeviceMark] = []
    summary: MarkSummary | None = None


class Conversation(Frame, frozen=True, kw_only=True, tag="conversation"):
    """You are in this conversation (added now, or a further page of `welcome`); its feed starts at `since`."""

    conversation: str
    kind: str
    since: int
    last_seq: int
    title: str = ""


class Left(Frame, frozen=True, kw_only=True, tag="left"):
    """You are no longer in the conversation; nothing after `upto` follows."""

    conversation: str
    upto: int


class Reset(Frame, frozen=True, kw_only=True, tag="reset"):
    """What you have can not be brought up to date: forget it, start the conversation from 0, keep the outbox."""

    conversation: str
    purged: int = 0


class Presence(Frame, frozen=True, kw_only=True, tag="presence"):
    """How users are here, those only who are news. After `welcome`: everyone watched who is not simply offline."""

    users: list[UserPresence] = []
    stale: bool = False
    ref: Reference | None = None


class Typed(Frame, frozen=True, kw_only=True, tag="typing"):
    """Somebody else is typing in a conversation, or not any more. Forget it after 6 s."""

    conversation: str
    user: str
    typing: bool


class Pong(Frame, frozen=True, kw_only=True, tag="pong"):
    """Answers `ping`."""

    ref: Reference | None = None


class Goodbye(Frame, frozen=True, kw_only=True, tag="goodbye"):
    """The server closes after this frame; come back after `reconnect_after` ms, or do not if it is absent."""

    reason: str
    message: str
    reconnect_after: int | None = None


ClientFrame: TypeAlias = (
    Hello | Send | Edit | Delete | Receipt | Sync | PresenceSet | PresenceWatch | Typing | Ping
)
ServerFrame: TypeAlias = (
    Welcome
    | Ok
    | Error
    | Events
    | Receipts
    | Conversation
    | Left
    | Reset
    | Presence
    | Typed
    | Pong
    | Goodbye
)
