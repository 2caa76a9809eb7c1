"""What goes into one batch of the journal, and what its outcomes mean: pure rules, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import psycopg

from messaging.journal.writer import Entry, Outcome, target
from messaging.protocol.actions import Stored
from messaging.protocol.batch import Batch
from messaging.protocol.errors import Refusal, Refused
from messaging.protocol.frames import Message, Send

BATCH_ROWS = 500
BATCH_BYTES = 1_048_576

REFUSALS = {refusal.code: refusal for refusal in Refusal}


def cut(entries: Iterable[Entry]) -> list[Entry]:
    """The longest head that may be one batch: bounded, and ending before a repeat of a key or of a changed message."""
    batch: list[Entry] = []
    seen: set[tuple[str, str]] = set()
    size = 0
    for entry in entries:
        keys = {(entry.device, entry.frame.client_id), ("", target(entry.frame) or str(len(batch)))}
        if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES or seen & keys:
            break
        seen |= keys
        size += entry.size
        batch.append(entry)
    return batch


def batches_of(entries: Sequence[Entry], outcomes: Sequence[Outcome]) -> list[Batch]:
    """What was committed, by conversation. The numbers of one batch in one conversation are consecutive."""
    accepted: dict[str, list[Message]] = {}
    for entry, outcome in zip(entries, outcomes, strict=True):
        if outcome.verdict == "accepted":
            accepted.setdefault(outcome.conversation or "", []).append(
                outcome.row or _appended(entry, outcome)
            )
    return [
        Batch(
            conversation=conversation,
            since=messages[0].seq - 1,
            upto=messages[-1].seq,
            messages=messages,
        )
        for conversation, messages in accepted.items()
    ]


def _appended(entry: Entry, outcome: Outcome) -> Message:
    frame = entry.frame
    assert isinstance(frame, Send)  # amended ones come as rows
    assert outcome.message
    assert outcome.seq
    return Message(
        id=outcome.message,
        seq=outcome.seq,
        position=outcome.seq,
        kind=frame.kind,
        body=frame.body,
        created=outcome.created or 0,
        device=entry.device,
        user=outcome.user,
        client_id=frame.client_id,
        reply_to=frame.reply_to,
    )


def answer(outcome: Outcome) -> Stored | Refused:
    if outcome.verdict not in ("accepted", "repeated"):
        return Refused(REFUSALS[outcome.verdict], current=outcome.row)
    return Stored(
        message=outcome.message or "",
        seq=outcome.seq or 0,
        position=outcome.position or 0,
        version=outcome.version or 1,
        created=outcome.created or 0,
        repeated=outcome.verdict == "repeated",
    )


def sentence(error: psycopg.Error) -> str:
    return (error.diag.message_primary or str(error)).rstrip(".")
