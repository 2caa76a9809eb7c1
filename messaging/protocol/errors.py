"""Each refusal and each close code as data.

A refusal says whether the request *definitely* had no effect, and whether it may be repeated.
Close codes 4000-4499 mean reconnect, 4500-4999 mean do not; 1008, 1009, 1012 keep RFC 6455's meaning.

    LockstepError
    ├── FrameError       a WebSocket message that is no valid frame
    ├── IllegalFrame     a valid frame in a state that does not take it (state.py)
    └── Refused          a request that the server refuses, with its Refusal
"""

from __future__ import annotations

import enum

from messaging.protocol.frames import Message


class Refusal(enum.Enum):
    """Why a request is refused; `code` is the name in lower case."""

    BAD_FRAME = "This is not a frame of the protocol: {detail}."
    UNKNOWN_TYPE = "There is no frame of type {detail}; see the frame table in the protocol page."
    TOO_LARGE = "The limit is {detail}; send large content as a file."
    INVALID_BODY = "The body can't be stored: {detail}."
    NOT_READY = "Say hello first, and wait for welcome."
    ALREADY_OPEN = "The session is open already; a second hello needs a new connection."
    UNAUTHORIZED = "The token is unknown or revoked; log in and register the device again."
    REVOKED = "This device was revoked; log in and register a new one, with another installation."
    NO_SUCH_CONVERSATION = "There is no such conversation among yours."
    NO_SUCH_MESSAGE = "There is no such message in your conversations."
    NO_SUCH_ATTACHMENT = "There is no such file: {detail}."
    FORBIDDEN = (
        "Only the author edits a message; the author or an admin of the conversation deletes it."
    )
    CLIENT_ID_REUSED = (
        "This client_id was used for something else; make a new one for each message, or group."
    )
    CONFLICT = "The message changed meanwhile; look at `current` and decide anew."
    CURSOR_AHEAD = (
        "The mark is beyond the conversation's last change ({detail}); resume from there."
    )
    AFTER_REFUSED = "An earlier send to this conversation was refused; repeat that client_id first, or reconnect."
    RATE_LIMITED = "This is more than a device, or its user, may ask for at a time; wait for retry_after, then repeat it."
    OVERLOADED = "Too much is under way; the request was not taken."
    BUSY = "The conversation is locked by another transaction; the request was not taken."
    DATABASE_UNAVAILABLE = "The database gave no answer, the outcome is unknown; repeat the same request with the same client_id."
    UNAVAILABLE = "The database has not answered for a while; the request was not taken."
    SHUTTING_DOWN = "The server is going down; repeat on the next connection."
    STORAGE_REFUSED = "The database refuses this message: {detail}."

    @property
    def code(self) -> str:
        """The name on the wire."""
        return self.name.lower()

    @property
    def retry_after(self) -> int | None:
        """Milliseconds after which a repeat may succeed, or None if it can't."""
        return RETRY_AFTER_MS.get(self.name)

    @property
    def definite(self) -> bool:
        """Whether the request certainly had no effect."""
        return self.name not in INDEFINITE

    @property
    def judged(self) -> bool:
        """Whether what is stored decides it, so that it may tell of others."""
        return self.name in JUDGED

    def text(self, detail: object = "") -> str:
        """The sentence for people."""
        return self.value.format(detail=detail)


# 1 s: a deadlock victim's or overloaded queue's turn comes well within it; clients add jitter.
RETRY_AFTER_MS = {
    "RATE_LIMITED": 1_000,
    "OVERLOADED": 250,
    "AFTER_REFUSED": 250,
    "BUSY": 1_000,
    "DATABASE_UNAVAILABLE": 1_000,
    "UNAVAILABLE": 1_000,
    "SHUTTING_DOWN": 500,
}
INDEFINITE = frozenset({"DATABASE_UNAVAILABLE"})
JUDGED = frozenset(
    {
        "UNAUTHORIZED",
        "REVOKED",
        "NO_SUCH_CONVERSATION",
        "NO_SUCH_MESSAGE",
        "NO_SUCH_ATTACHMENT",
        "FORBIDDEN",
        "CLIENT_ID_REUSED",
        "CONFLICT",
        "CURSOR_AHEAD",
        "STORAGE_REFUSED",
    }
)


class CloseCode(enum.IntEnum):
    """Why the server closes; the range is the client's next move."""

    ABUSE = 1008
    TOO_LARGE = 1009
    RESTART = 1012
    HELLO_TIMEOUT = 4000
    SLOW = 4001
    OVERLOADED = 4002
    INTERNAL = 4004
    PAUSED = 4005
    DISCONNECTED = 4006
    UNAVAILABLE = 4007
    FULL = 4008
    UNAUTHORIZED = 4500
    REVOKED = 4501
    ORIGIN = 4502
    SUBPROTOCOL = 4503

    @property
    def reconnect(self) -> bool:
        """Whether a client should come back."""
        return self == CloseCode.RESTART or 4000 <= self < 4500

    @property
    def reason(self) -> str:
        """The name in `goodbye`."""
        return self.name.lower()

    @property
    def text(self) -> str:
        """The sentence for people."""
        return CLOSE_TEXTS[self]


CLOSE_TEXTS = {
    CloseCode.ABUSE: "Too many frames that are not of the protocol; mend the client.",
    CloseCode.TOO_LARGE: "A frame was larger than the limit in welcome; send large content as a file.",
    CloseCode.RESTART: "This server process is going down; another one takes the session over.",
    CloseCode.HELLO_TIMEOUT: "No hello within 5 s; send it as the first frame.",
    CloseCode.SLOW: "Nothing was acknowledged for 60 s; acknowledge with receipt frames.",
    CloseCode.OVERLOADED: "Too many requests at a time; wait for the answers, and for `retry_after`.",
    CloseCode.INTERNAL: "The server met an error of its own; nothing acknowledged is lost.",
    CloseCode.PAUSED: "This server process stood still for so long that others took it for dead; go on with another one.",
    CloseCode.DISCONNECTED: "An administrator ended this connection; open another one.",
    CloseCode.UNAVAILABLE: "The database does not answer; nothing acknowledged is lost, come back later.",
    CloseCode.FULL: "This server lets nobody else in now; come back after `reconnect_after`.",
    CloseCode.UNAUTHORIZED: "The token is unknown; log in and register the device again.",
    CloseCode.REVOKED: "This device was revoked; log in and register a new one, with another installation.",
    CloseCode.ORIGIN: "Pages of this origin are not allowed; add it to LOCKSTEP_MESSAGING['allowed_origins'].",
    CloseCode.SUBPROTOCOL: "Offer lockstep.v1.json or lockstep.v1.msgpack as subprotocol.",
}


class LockstepError(Exception):
    """Whatever this package raises on purpose."""


class FrameError(LockstepError):
    """A WebSocket message that is no valid frame; `ref` and `client_id` are what it carried, for the answer."""

    def __init__(
        self,
        refusal: Refusal,
        detail: str,
        *,
        ref: str | int | None = None,
        client_id: str | None = None,
    ) -> None:
        self.refusal, self.detail, self.ref, self.client_id = refusal, detail, ref, client_id

    def __str__(self) -> str:
        return self.refusal.text(self.detail)


class Refused(LockstepError):
    """A request that the server refuses; `current` is the message as it is, for conflicts.

    `retry_after` (ms) is the refusal's own unless given; `definite` is, unless nobody knows whether it was done before.
    """

    def __init__(
        self,
        refusal: Refusal,
        detail: object = "",
        *,
        current: Message | None = None,
        retry_after: int | None = None,
        definite: bool = True,
    ) -> None:
        self.refusal, self.detail, self.current = refusal, detail, current
        self.definite = refusal.definite and definite
        self.retry_after = refusal.retry_after if retry_after is None else retry_after

    def __str__(self) -> str:
        return self.refusal.text(self.detail)
