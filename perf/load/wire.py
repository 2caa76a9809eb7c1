"""Server frames as a fleet reads them: as `messaging.protocol` does, but `events` are decoded once.

All devices of a conversation get the same changes. Decoding every message for every device would
cost more than the rest of the generator, so a frame's messages stay raw bytes until `Pages` has
found out that no other device has had the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias, Union, get_args

import msgspec

from messaging.protocol import frames
from perf.history.recorder import Recorder

RECENT_PAGES = 64  # per conversation: how many frames the slowest device may be behind the fastest


class RawEvents(frames.Frame, frozen=True, kw_only=True, tag="events"):
    """`events`, with its messages still encoded."""

    conversation: str
    since: int
    upto: int
    messages: msgspec.Raw = msgspec.Raw(b"[]")
    ref: frames.Reference | None = None


AnyFrame: TypeAlias = frames.ServerFrame | RawEvents

# Every frame that a server may send, but `events` raw: a new kind is known here by itself.
_kinds = [RawEvents if one is frames.Events else one for one in get_args(frames.ServerFrame)]
_any: Any = Union[tuple(_kinds)]  # noqa: UP007 - of kinds that are only known now

_decode = msgspec.json.Decoder(_any | list[_any]).decode
_decode_messages = msgspec.json.Decoder(list[frames.Message]).decode
_encode = msgspec.json.Encoder().encode


def decode(data: bytes) -> list[AnyFrame]:
    """Return the frames of one WebSocket message. Raises msgspec.DecodeError."""
    found: AnyFrame | list[AnyFrame] = _decode(data)
    return found if isinstance(found, list) else [found]


def encode(going: Sequence[frames.Frame]) -> bytes:
    """Return one WebSocket message of these frames."""
    return _encode(going[0] if len(going) == 1 else going)


class Known(NamedTuple):
    """A frame's content: the number of its page in the history, and its messages."""

    number: int
    messages: list[frames.Message]


class Pages:
    """Decodes and records `events` frames, each distinct one only once."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._recent: dict[str, deque[tuple[int, int, msgspec.Raw, Known]]] = {}

    def read(self, frame: RawEvents) -> Known:
        """Return what the frame brings; frames with the same range and bytes share it."""
        recent = self._recent.get(frame.conversation)
        if recent is None:
            recent = self._recent[frame.conversation] = deque(maxlen=RECENT_PAGES)
        for since, upto, raw, known in recent:
            if upto == frame.upto and since == frame.since and raw == frame.messages:
                return known
        messages = _decode_messages(frame.messages)
        number = self._recorder.page(frame.conversation, frame.since, frame.upto, messages)
        known = Known(number, messages)
        recent.appendleft((frame.since, frame.upto, frame.messages.copy(), known))
        return known
