"""WebSocket messages that no client sends: valid frames mutated in their structure or in their bytes. One seed, one series."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import msgspec

from messaging.protocol.codec import JSON, MSGPACK, Codec

ROOM = "0198f3a0-0000-7000-8000-00000000c001"
OTHER = "0198f3a0-0000-7000-8000-00000000c002"

VALID: tuple[dict[str, Any], ...] = (
    {"type": "hello", "token": "t", "cursors": {ROOM: 3}, "epoch": "e", "auto_ack": True, "ref": 1},
    {"type": "send", "conversation": ROOM, "client_id": "k", "body": "hi", "ref": "r"},
    {"type": "send", "conversation": ROOM, "client_id": "d", "body": "[1]", "kind": "data"},
    {"type": "send", "conversation": OTHER, "client_id": "a", "body": "", "attachments": [ROOM]},
    {"type": "edit", "message": ROOM, "base_version": 1, "client_id": "e", "body": "new"},
    {"type": "delete", "message": ROOM, "base_version": 2, "client_id": "x", "ref": 2},
    {"type": "receipt", "marks": [{"conversation": ROOM, "delivered": 5, "read": 4}], "ref": 3},
    {"type": "sync", "conversation": ROOM, "since": 1, "limit": 10, "ref": 4},
    {"type": "presence.set", "state": "away", "text": "lunch", "until": 1, "invisible": False},
    {"type": "presence.watch", "users": [ROOM, OTHER], "ref": 5},
    {"type": "typing", "conversation": ROOM, "typing": True},
    {"type": "ping", "ref": 6},
)
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53, 2**53 + 1, 2**62 + 1, 2**63, -(2**63), 2**64 - 1),
    *(0.5, 1e308, "", " ", "\x00", "\u202e", "é" * 70, "x" * 65, "x" * 70_000, ROOM, ROOM.upper()),
    *(
        f"{ROOM}\n",
        "' OR 1=1 --",
        "../../etc/passwd",
        "<script>",
        "\ufeff",
        "𝒳",
        [],
        {},
        [[]],
        {"": {}},
    ),
    *([None] * 300, {str(n): n for n in range(50)}, "system", "hello", "error"),
)
RAW = (
    *(b"", b"[", b"{", b"]", b"null", b"NaN", b"[NaN]", b"-Infinity", b'"\\ud800"', b"1e999999"),
    *(b'{"type":"ping","type":"send"}', b"[" * 5_000, b'{"a":' * 5_000, b"9" * 5_000),
    *(b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 5_000),
    *(b"\xef\xbb\xbf{}", b"\xff\xfe", b"[1,]", b"[{}]" * 3, b"\xd9\xff", b"\xc1"),
)


class Mutator:
    """An endless source of WebSocket messages, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def message(self, codec: Codec) -> tuple[str | bytes, int]:
        """A WebSocket message, and how many frames went into it."""
        count = 1 if self.random.random() < 0.9 else self.random.randint(0, 40)
        kind = self.random.random()
        if kind < 0.05:
            return self._as(codec, self.random.choice(RAW)), 1
        if kind < 0.1:
            return self._as(codec, self.random.randbytes(self.random.randint(0, 300))), 1
        frames = [self.frame() for _ in range(count)]
        value = frames[0] if count == 1 and kind < 0.9 else frames
        data = self._packed(codec, value)
        if kind < 0.3:
            data = self._broken(data)
        return self._as(codec, data), max(count, 1)

    def frame(self) -> Any:
        """A valid frame, or one that was."""
        frame: Any = json.loads(json.dumps(self.random.choice(VALID)))
        for _ in range(self.random.choice((0, 1, 1, 2, 5))):
            frame = self._mutated(frame)
        return frame

    def _mutated(self, frame: Any) -> Any:
        if not isinstance(frame, dict) or not frame or self.random.random() < 0.02:
            return self._odd()
        key, how = self.random.choice(list(frame)), self.random.randrange(6)
        if how == 0:
            del frame[key]
        elif how == 1:
            frame[self._text()] = frame[key]
        elif how == 2 and isinstance(frame[key], (list, dict)) and frame[key]:
            frame[key] = [frame[key]] if isinstance(frame[key], list) else self._mutated(frame[key])
        elif how == 3:
            frame[key] = self._nested(frame[key])
        else:
            frame[key] = self._odd()
        return frame

    def _odd(self) -> Any:
        """A value of its own: it may be mutated in turn."""
        return copy.deepcopy(self.random.choice(ODD))

    def _nested(self, value: Any) -> Any:
        for _ in range(self.random.choice((1, 3, 100))):
            value = [value] if self.random.random() < 0.5 else {"a": value}
        return value

    def _text(self) -> str:
        known = [key for frame in VALID for key in frame]
        return self.random.choice([*known, "", "\x00", "x" * 1_000])

    def _packed(self, codec: Codec, value: Any) -> bytes:
        if codec is MSGPACK:
            try:
                return msgspec.msgpack.encode(value)
            except (OverflowError, ValueError, UnicodeError):
                return b"\xc0"
        return json.dumps(value, ensure_ascii=self.random.random() < 0.5).encode(errors="replace")

    def _broken(self, data: bytes) -> bytes:
        """Some bytes changed, cut out, doubled or put in."""
        found = bytearray(data)
        for _ in range(self.random.choice((1, 1, 3, 20))):
            at = self.random.randrange(len(found) + 1)
            upto = min(len(found), at + self.random.choice((1, 1, 4, 50)))
            found[at:upto] = self.random.choice(
                (
                    b"",
                    self.random.randbytes(upto - at),
                    bytes(found[at:upto]) * 2,
                    b"\x00",
                    b'"',
                    b"}",
                )
            )
        return bytes(found)

    def _as(self, codec: Codec, data: bytes) -> str | bytes:
        """As a server hands it over: text only if it is UTF-8; now and then the other kind."""
        if (codec is JSON) == (self.random.random() < 0.99):
            try:
                return data.decode()
            except UnicodeDecodeError:
                return data
        return data
