"""Frames of changes that are not what they should be, at the last moment before they leave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from messaging.protocol.frames import Message
from messaging.protocol.server.batch import Batch
from messaging.protocol.server.session import Session
from perf.sabotage.every import Every

DROPPED, SWAPPED, REPEATED, REDATED = 1_000, 100, 200, 100  # deliveries between two


def drop() -> None:
    """Leave every 1,000th delivery out of its frame, whose range goes on as if nothing were missing."""
    every = Every(DROPPED)

    def change(batch: Batch) -> Iterator[Batch]:
        every.count(batch.count)
        plain = batch.messages[-1:] and batch.messages[-1].kind != "system"
        yield _with(batch, batch.messages[:-1]) if plain and every.due() else batch

    _send_instead(change)


def swap() -> None:
    """Let the last two changes of a frame change places."""
    every = Every(SWAPPED)

    def change(batch: Batch) -> Iterator[Batch]:
        every.count(batch.count)
        if batch.count > 1 and every.due():
            *others, first, second = batch.messages
            yield _with(batch, [*others, second, first])
        else:
            yield batch

    _send_instead(change)


def repeat() -> None:
    """Send a frame twice."""
    every = Every(REPEATED)

    def change(batch: Batch) -> Iterator[Batch]:
        every.count(batch.count)
        yield batch
        if every.due():
            yield batch

    _send_instead(change)


def resurrect() -> None:
    """Deliver deleted messages as they were before."""
    living: dict[str, Message] = {}

    def change(batch: Batch) -> Iterator[Batch]:
        gone = {one.id for one in batch.messages if one.deleted is not None} & living.keys()
        living.update((one.id, one) for one in batch.messages if one.deleted is None)
        yield _with(batch, [_revived(one, living) for one in batch.messages]) if gone else batch

    _send_instead(change)


def redate() -> None:
    """Deliver a message as if it had been said a millisecond later."""
    every = Every(REDATED)

    def change(batch: Batch) -> Iterator[Batch]:
        every.count(batch.count)
        if batch.count and every.due():
            *others, last = batch.messages
            yield _with(batch, [*others, msgspec.structs.replace(last, created=last.created + 1)])
        else:
            yield batch

    _send_instead(change)


def _revived(message: Message, living: dict[str, Message]) -> Message:
    if message.deleted is None or message.id not in living:
        return message
    return msgspec.structs.replace(message, deleted=None, body=living[message.id].body)


def _with(batch: Batch, messages: Iterable[Message]) -> Batch:
    """The same range with other messages."""
    return Batch(
        conversation=batch.conversation,
        since=batch.since,
        upto=batch.upto,
        messages=messages,
        fences=batch.fences,
        cut=batch.cut,
    )


def _send_instead(change: Callable[[Batch], Iterable[Batch]]) -> None:
    send = Session._send_events

    def send_events(self: Session, batch: Batch, encoded: bytes) -> None:
        for one in change(batch):
            send(self, one, encoded if one is batch else one.encode(self.codec))

    Session._send_events = send_events  # type: ignore[method-assign]
