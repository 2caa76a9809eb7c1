"""Frames that no client sends, a million of them: `python -m tests.fuzz --frames 1000000 --seed 1`.

Valid frames of every kind are mutated in their structure (values, keys, nesting, duplicates) or in their bytes,
as JSON and as MessagePack, and given to sessions in every state. Each must be answered with frames of the
protocol, in its time; nothing may raise, and no session may keep more than its bounds. The same seed gives the
same frames. With `--socket ws://…/ws/ --token …` a share goes through a server, which must go on answering.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

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
from tests.mutator import ROOM, Mutator

HANG_S = 1.0  # of CPU for one WebSocket message
WAITING = 4_096  # frames that may wait in one session: a message's answers, and as many again


@dataclass(kw_only=True)
class Tally:
    """What came of it."""

    frames: int = 0
    sessions: int = 0
    heard: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0


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
