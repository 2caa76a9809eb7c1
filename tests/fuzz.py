"""Frames that no client sends, a million of them: `python -m tests.fuzz --frames 1000000 --seed 1`.

Valid frames of every kind are mutated in their structure (values, keys, nesting, duplicates) or in their bytes,
as JSON and as MessagePack, and given to sessions in every state. Each must be answered with frames of the
protocol, in its time; nothing may raise, and no session may keep more than its bounds. The same seed gives the
same frames. With `--socket ws://…/ws/ --token …` a share goes through a server, which must go on answering.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import psutil

from messaging.protocol.codec import JSON, MSGPACK, Codec
from messaging.protocol.errors import Refusal, Refused
from messaging.protocol.server.actions import (
    Action,
    Authenticate,
    Identity,
    Read,
    SetPresence,
    Standing,
    Stored,
    StoreMarks,
    Submit,
    Watch,
)
from messaging.protocol.server.batch import Batch
from messaging.protocol.server.session import Session

HANG_S = 1.0  # of CPU for one WebSocket message
WAITING = 4_096  # frames that may wait in one session: a message's answers, and as many again
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


@dataclass(kw_only=True)
class Tally:
    """What came of it."""

    frames: int = 0
    sessions: int = 0
    heard: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0


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


def run(*, frames: int, seed: int) -> Tally:
    """Give so many frames to sessions. Raises AssertionError, or what a session raised."""
    source, tally = Mutator(seed), Tally()
    while tally.frames < frames:
        codec = source.random.choice((JSON, MSGPACK))
        session = _session(codec, state=source.random.randrange(4))
        tally.sessions += 1
        for _ in range(source.random.choice((1, 20, 200))):
            data, count = source.message(codec)
            _give(session, data, tally, source.random)
            tally.frames += count
            if session.closing is not None or tally.frames >= frames:
                break
    return tally


def _session(codec: Codec, *, state: int) -> Session:
    """A new session: nothing said, hello said, or live (half of them)."""
    session = Session(codec)
    if state >= 1:
        session.receive(codec.join([_hello(codec)]))
    if state >= 2:
        standing = Standing(
            conversation=ROOM, kind="group", title="Room", last_seq=5, joined_seq=1, delivered=5
        )
        session.open(Identity(device=ROOM, user=ROOM, session=ROOM), [standing], epoch="e")
    return session


def _hello(codec: Codec) -> bytes:
    encode = msgspec.json.encode if codec is JSON else msgspec.msgpack.encode
    return encode({"type": "hello", "token": "t", "cursors": {ROOM: 5}, "epoch": "e"})


def _give(session: Session, data: str | bytes, tally: Tally, chance: random.Random) -> None:
    """One message: taken in its time, acted on, and answered in frames that decode."""
    began = time.thread_time()
    for action in session.receive(data):
        _settle(session, action, chance)
    assert len(session._out) <= WAITING, f"{len(session._out)} frames wait after {data[:200]!r}"
    while (out := session.outgoing()) is not None:
        for frame in session.codec.decode_server(out):
            tally.heard[frame.name] += 1
        session.written()
    took = time.thread_time() - began
    tally.slowest_s = max(tally.slowest_s, took)
    assert took < HANG_S, f"{took:.1f} s for {data[:200]!r}"


def _settle(session: Session, action: Action, chance: random.Random) -> None:
    """What the consumer would do, with any outcome."""
    match action:
        case Submit(frame):
            refused = Refused(chance.choice(list(Refusal)))
            stored = Stored(ROOM, 6, 6, 1, 0, False)
            session.settle(frame, refused if chance.random() < 0.5 else stored)
        case StoreMarks(_, ref):
            if ref is not None:
                session.confirm(ref)
        case Read(frame, since):
            page = Batch(
                conversation=frame.conversation, since=since, upto=max(since, 5), messages=[]
            )
            session.answer_sync(frame, page)
        case SetPresence(frame):
            session.confirm(frame.ref)
        case Watch(frame):
            session.answer_watch(frame, [], stale=False)
        case Authenticate() | _:
            pass


def memory_mib() -> float:
    """What this process holds, after a collection."""
    gc.collect()
    return float(psutil.Process().memory_info().rss) / 2**20


def parts(frames: int, *, of: int = 10) -> Iterator[int]:
    """The numbers of frames of several rounds."""
    yield from (frames // of for _ in range(of - 1))
    yield frames - (frames // of) * (of - 1)


def main() -> None:
    """Run, and say what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--socket", help="the address of a server, ws://host:port/ws/")
    parser.add_argument("--token", help="of a device, for --socket")
    options = parser.parse_args()
    if options.socket:
        from tests.fuzz_socket import through

        print(through(options.socket, options.token, frames=options.frames, seed=options.seed))
        return
    run(frames=10_000, seed=0)  # what is loaded and cached on the way is no leak
    before, began, heard = memory_mib(), time.perf_counter(), Counter[str]()
    slowest = 0.0
    for number, some in enumerate(parts(options.frames)):
        tally = run(frames=some, seed=options.seed + number)
        heard += tally.heard
        slowest = max(slowest, tally.slowest_s)
        print(f"{(number + 1) * 10} %, {memory_mib():.0f} MiB", file=sys.stderr)
    took = time.perf_counter() - began
    print(
        f"{options.frames} frames of seed {options.seed} in {took:.0f} s ({options.frames / took:.0f}/s), "
        f"slowest message {slowest * 1000:.0f} ms, memory {before:.0f} -> {memory_mib():.0f} MiB; "
        + ", ".join(f"{count} {name}" for name, count in heard.most_common())
    )


if __name__ == "__main__":
    main()
