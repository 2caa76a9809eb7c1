"""WebSocket messages to frames and back, as JSON text or MessagePack.

Laws: decoding what a client sent never raises, each bad frame becomes its own `FrameError` with
the `ref` it carried; unknown fields, and unknown types of the server's, are passed over, so that
old and new peers talk. What is bad costs its sender more than us: bad frames are looked at one by
one, as long as they are asked for. What a frame holds is in `frames`, a body in `content`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

from messaging.protocol.content import check_body, check_key, check_status
from messaging.protocol.errors import FrameError, Refusal, Refused
from messaging.protocol.frames import (
    MAX_BATCH,
    MAX_FRAME_BYTES,
    MAX_KEY,
    ClientFrame,
    Delete,
    Edit,
    Frame,
    PresenceSet,
    Send,
    ServerFrame,
)

# What msgspec raises on foreign bytes: bad syntax or fields, bad UTF-8, nesting too deep.
BAD_DATA = (msgspec.DecodeError, UnicodeError, RecursionError)

CLIENT_TYPES = frozenset(frame.tag() for frame in ClientFrame.__args__)
SERVER_TYPES = frozenset(frame.tag() for frame in ServerFrame.__args__)


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What can still be told of a frame that is otherwise wrong."""

    type: Any = None
    ref: Any = None
    client_id: Any = None


class Spoilt(Envelope, frozen=True, kw_only=True):
    """The same of a frame that only a lone surrogate spoils."""


_LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # after parsing: pairs are one character
_ENVELOPE = msgspec.json.Decoder(Envelope).decode

Decode: TypeAlias = Callable[[Any], Any]  # takes bytes or str


@dataclass(frozen=True, kw_only=True)
class Decoders:
    """The questions asked of bytes, in one encoding."""

    client: Decode
    server: Decode
    client_one: Decode
    server_one: Decode
    envelope: Decode
    split: Callable[[bytes | str], list[bytes]]


@dataclass(frozen=True, kw_only=True)
class Codec:
    """One encoding of the protocol, named by its WebSocket subprotocol."""

    subprotocol: str
    binary: bool
    part: Callable[[Any], bytes]
    """Encodes one frame, for `join` later."""
    join: Callable[[Sequence[bytes]], str | bytes]
    """Makes one WebSocket message of frames that `part` encoded."""
    decoders: Decoders = field(repr=False)

    def encode(self, frames: Sequence[Frame]) -> str | bytes:
        """One WebSocket message of these frames: text for JSON, bytes for MessagePack."""
        return self.join([self.part(frame) for frame in frames])

    def decode_client(self, data: str | bytes) -> Iterable[ClientFrame | FrameError]:
        """What a client sent, in order. Never raises: what is no frame becomes a `FrameError`.

        Whoever has enough of them stops asking: what was not asked for is not looked at.
        """
        if unfit := self._unfit(data):
            return [unfit]
        try:
            found = self.decoders.client(data)
        except BAD_DATA:
            return self._each_of_client(data)
        if not isinstance(found, list):
            return [_checked(found)]
        return map(_checked, found) if len(found) <= MAX_BATCH else [_too_many()]

    def decode_server(self, data: str | bytes) -> list[ServerFrame]:
        """What a server sent, without frames of unknown type. Raises `FrameError` on the first bad one."""
        try:
            found = self.decoders.server(data)
        except BAD_DATA:
            return self._each_of_server(data)
        return found if isinstance(found, list) else [found]

    def _unfit(self, data: str | bytes) -> FrameError | None:
        if self.binary and isinstance(data, str):
            return FrameError(
                Refusal.BAD_FRAME, f"{self.subprotocol} takes binary messages, not text"
            )
        return _size_error(data)

    def _each_of_client(self, data: str | bytes) -> Iterator[ClientFrame | FrameError]:
        try:
            parts = self._split(data)
        except FrameError as error:
            yield error
            return
        if len(parts) > MAX_BATCH:
            yield _too_many()
            return
        for part in parts:
            yield self._client_frame(part)

    def _client_frame(self, part: bytes) -> ClientFrame | FrameError:
        try:
            return _checked(self.decoders.client_one(part))
        except BAD_DATA as problem:
            return self._frame_error(part, problem)

    def _each_of_server(self, data: str | bytes) -> list[ServerFrame]:
        frames: list[ServerFrame] = []
        for part in self._split(data):
            try:
                frames.append(self.decoders.server_one(part))
            except BAD_DATA as problem:
                error = self._frame_error(part, problem, known=SERVER_TYPES)
                if error.refusal is not Refusal.UNKNOWN_TYPE:
                    raise error from problem
        return frames

    def _split(self, data: str | bytes) -> list[bytes]:
        try:
            return self.decoders.split(data)
        except (
            *BAD_DATA,
            ValueError,
        ) as problem:  # ValueError: json's own, and absurdly long numbers
            raise FrameError(Refusal.BAD_FRAME, _reason(problem)) from problem

    def _frame_error(
        self, part: bytes, problem: Exception, *, known: frozenset[str] = CLIENT_TYPES
    ) -> FrameError:
        try:
            envelope = self.decoders.envelope(part)
        except (*BAD_DATA, ValueError):
            return FrameError(Refusal.BAD_FRAME, _reason(problem))
        if isinstance(envelope, Spoilt):
            return _error(Refusal.INVALID_BODY, "it holds a lone surrogate", envelope)
        kind = envelope.type
        if isinstance(kind, str) and kind not in known:
            return _error(Refusal.UNKNOWN_TYPE, repr(kind[:40]), envelope)
        return _error(Refusal.BAD_FRAME, _reason(problem), envelope)


def _checked(frame: ClientFrame) -> ClientFrame | FrameError:
    """The frame, or why its text can't be stored."""
    if not isinstance(frame, (Send, Edit, Delete, PresenceSet)):
        return frame
    try:
        if isinstance(frame, PresenceSet):
            check_status(frame.text or "")
            return frame
        check_key(frame.client_id)
        if not isinstance(frame, Delete):
            check_body(frame.body, frame.kind if isinstance(frame, Send) else "text")
    except Refused as refused:
        return _error(refused.refusal, str(refused.detail), frame)
    return frame


def _error(
    refusal: Refusal, detail: str, told: Envelope | Send | Edit | Delete | PresenceSet
) -> FrameError:
    ref = told.ref if _is_reference(told.ref) else None
    key = getattr(told, "client_id", None)
    key = key if isinstance(key, str) and not _is_long(key) else None
    return FrameError(refusal, detail, ref=ref, client_id=key)


def _is_reference(value: object) -> bool:
    """Whether an echo of it is a frame again. (A bool is an int to Python.)"""
    if isinstance(value, str):
        return not _is_long(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**53


def _is_long(text: str) -> bool:
    return len(text) > MAX_KEY


def _size_error(data: str | bytes) -> FrameError | None:
    """`TOO_LARGE` if the WebSocket message is; text is measured in UTF-8 only where it may matter."""
    size = len(data)
    if isinstance(data, str) and MAX_FRAME_BYTES // 4 < size <= MAX_FRAME_BYTES:
        size = len(data.encode(errors="surrogatepass"))
    if size <= MAX_FRAME_BYTES:
        return None
    return FrameError(Refusal.TOO_LARGE, f"{MAX_FRAME_BYTES} bytes for a WebSocket message")


def _too_many() -> FrameError:
    return FrameError(Refusal.TOO_LARGE, f"{MAX_BATCH} frames for a WebSocket message")


def _reason(problem: Exception) -> str:
    """The decoder's sentence, as the middle of ours."""
    if isinstance(problem, RecursionError):
        return "it is nested too deep"
    if isinstance(problem, UnicodeError):
        return "its text is not valid UTF-8"
    return str(problem).rstrip(".")


def _split_json(data: bytes | str) -> list[bytes]:
    """The frames of a JSON text, apart, or enough to see that there are too many. A lone surrogate spoils only the frame that holds it."""
    text = data.encode(errors="surrogatepass") if isinstance(data, str) else data
    if not text.lstrip().startswith(b"["):
        return [text]
    try:
        return [bytes(part) for part in _enough(msgspec.json.decode(text, type=list[msgspec.Raw]))]
    except BAD_DATA:
        return [json.dumps(part).encode() for part in _enough(json.loads(text))]


def _envelope_json(data: bytes | str) -> Envelope:
    try:
        return _ENVELOPE(data)
    except BAD_DATA:
        # The standard library's parser takes lone surrogates, so the frame's `ref` is not lost.
        return msgspec.convert(_object(json.loads(data)), Spoilt)


def _object(value: object) -> dict[str, Any]:
    found = value if isinstance(value, dict) else {}
    if not _LONE_SURROGATE.search(json.dumps(found, ensure_ascii=False)):
        raise msgspec.DecodeError("no frame, and not for a lone surrogate")
    return found


def _split_msgpack(data: bytes | str) -> list[bytes]:
    raw = data.encode() if isinstance(data, str) else data
    if raw and (raw[0] & 0xF0 == 0x90 or raw[0] in (0xDC, 0xDD)):  # fixarray, array 16, array 32
        return [
            bytes(part) for part in _enough(msgspec.msgpack.decode(raw, type=list[msgspec.Raw]))
        ]
    return [raw]


def _enough(parts: list[Any]) -> list[Any]:
    return parts[: MAX_BATCH + 1]


def _join_json(parts: Sequence[bytes]) -> str:
    return (parts[0] if len(parts) == 1 else b"[%b]" % b",".join(parts)).decode()


def _join_msgpack(parts: Sequence[bytes]) -> bytes:
    count = len(parts)
    if count == 1:
        return parts[0]
    if count < 16:
        head = bytes([0x90 | count])
    elif count < 2**16:
        head = b"\xdc" + count.to_bytes(2, "big")
    else:
        head = b"\xdd" + count.to_bytes(4, "big")
    return head + b"".join(parts)


def _decoders(
    decoder: Callable[[Any], Any], envelope: Decode, split: Callable[[bytes | str], list[bytes]]
) -> Decoders:
    return Decoders(
        client=decoder(ClientFrame | list[ClientFrame]).decode,
        server=decoder(ServerFrame | list[ServerFrame]).decode,
        client_one=decoder(ClientFrame).decode,
        server_one=decoder(ServerFrame).decode,
        envelope=envelope,
        split=split,
    )


JSON = Codec(
    subprotocol="lockstep.v1.json",
    binary=False,
    part=msgspec.json.Encoder().encode,
    join=_join_json,
    decoders=_decoders(msgspec.json.Decoder, _envelope_json, _split_json),
)
MSGPACK = Codec(
    subprotocol="lockstep.v1.msgpack",
    binary=True,
    part=msgspec.msgpack.Encoder().encode,
    join=_join_msgpack,
    decoders=_decoders(
        msgspec.msgpack.Decoder, msgspec.msgpack.Decoder(Envelope).decode, _split_msgpack
    ),
)
CODECS = {codec.subprotocol: codec for codec in (JSON, MSGPACK)}
"""By subprotocol, in the order in which a server prefers them."""
