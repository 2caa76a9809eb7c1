"""A session in one conversation, what is said to it, and what it says."""

from __future__ import annotations

from typing import Any

from messaging.protocol.codec import JSON
from messaging.protocol.errors import Refused
from messaging.protocol.frames import (
    DeviceMark,
    Frame,
    Hello,
    Message,
    Receipts,
    Send,
    ServerFrame,
)
from messaging.protocol.server.actions import Identity, Standing, Stored
from messaging.protocol.server.batch import Batch
from messaging.protocol.server.session import Session
from messaging.protocol.server.window import Window

HERE = "10000000-0000-4000-8000-000000000000"
ME = "me"


def opened(*, cursor: int = 0, window: Window | None = None, auto_ack: bool = False) -> Session:
    """A session in one conversation that has 10 changes, behind at `cursor`."""
    session = Session(JSON, window=window)
    say(session, Hello(token="t", cursors={HERE: cursor}, auto_ack=auto_ack))
    standing = Standing(conversation=HERE, kind="group", title="", last_seq=10, joined_seq=1)
    session.open(Identity(device="d", user=ME, session="s"), [standing], epoch="e")
    heard(session)
    return session


def say(session: Session, *frames: Frame) -> list[object]:
    return list(session.receive(JSON.encode(frames)))


def heard(session: Session, *, mute: bool = False) -> list[ServerFrame]:
    frames: list[ServerFrame] = []
    while (data := session.outgoing(mute=mute)) is not None:
        frames += JSON.decode_server(data)
    return frames


def changes(since: int, upto: int, **more: Any) -> Batch:
    messages = [Message(id=f"m{n}", seq=n, position=n) for n in range(since + 1, upto + 1)]
    return Batch(conversation=HERE, since=since, upto=upto, messages=messages, **more)


def bring_up(session: Session, upto: int = 10) -> None:
    session.next_read()
    session.fed(changes(0, upto), position=upto)


def show_mark(session: Session, delivered: int) -> None:
    mark = DeviceMark(device="other", user="other", delivered=delivered)
    session.offer_marks(HERE, [mark], JSON.part(Receipts(conversation=HERE, marks=[mark])))


def written(session: Session, key: str, outcome: Stored | Refused) -> None:
    """A send of the client, answered."""
    frame = Send(conversation=HERE, client_id=key, body=key)
    say(session, frame)
    session.settle(frame, outcome)
