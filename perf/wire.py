"""Server frames as a fleet reads them: as `messaging.protocol` does, but `events` are decoded once.

All devices of a conversation get the same changes. Decoding every message for every device would
cost more than the rest of the generator, so a frame's messages stay raw bytes until `Pages` has
found out that no other device has had the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from messaging.protocol import frames
from perf.history import Entry, Page

RECENT_PAGES = 64  # per conversation: how many frames the slowest device may be behind the fastest


class RawEvents(frames.Frame, frozen=True, kw_only=True, tag="events"):
    """`events`, with its messages still encoded."""

    conversation: str
    since: int
    upto: int
    messages: msgspec.Raw = msgspec.Raw(b"[]")
    ref: frames.Reference | None = None


AnyFrame: TypeAlias = (
    frames.Welcome
    | frames.Ok
    | frames.Error
    | RawEvents
    | frames.Receipts
    | frames.Conversation
    | frames.Left
    | frames.Reset
    | frames.Pong
    | frames.Goodbye
)

_decode = msgspec.json.Decoder(AnyFrame | list[AnyFrame]).decode
_decode_messages = msgspec.json.Decoder(list[frames.Message]).decode
_encode = msgspec.json.Encoder().encode


def decode(data: bytes) -> list[AnyFrame]:
    """Return the frames of one WebSocket message. Raises msgspec.DecodeError."""
    found = _decode(data)
    return found if isinstance(found, list) else [found]


def encode(going: Sequence[frames.Frame]) -> bytes:
    """Return one WebSocket message of these frames."""
    return _encode(going[0] if len(going) == 1 else going)


class Pages:
    """Decodes `events` frames, each distinct one only once."""

    def __init__(self) -> None:
        self._recent: dict[str, deque[tuple[msgspec.Raw, Page, list[frames.Message]]]] = {}

    def read(self, frame: RawEvents) -> tuple[Page, list[frames.Message]]:
        """Return the frame's page and messages; frames with the same bytes share them."""
        recent = self._recent.get(frame.conversation)
        if recent is None:
            recent = self._recent[frame.conversation] = deque(maxlen=RECENT_PAGES)
        for known, page, messages in recent:
            if page.upto == frame.upto and page.since == frame.since and known == frame.messages:
                return page, messages
        messages = _decode_messages(frame.messages)
        page = Page(
            conversation=frame.conversation,
            since=frame.since,
            upto=frame.upto,
            entries=entries(messages),
        )
        recent.appendleft((frame.messages.copy(), page, messages))
        return page, messages


def entries(messages: Sequence[frames.Message]) -> tuple[Entry, ...]:
    """Return the identities of these messages."""
    return tuple(Entry(one.seq, one.id, one.client_id) for one in messages)
