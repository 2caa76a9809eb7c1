"""What goes into one batch of the journal, and what its outcomes mean: pure rules, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import psycopg

from messaging.journal.writer import Entry, Outcome, target
from messaging.protocol.errors import Refusal, Refused
from messaging.protocol.frames import Message, Send
from messaging.protocol.server.actions import Stored, Write
from messaging.protocol.server.batch import Batch

BATCH_ROWS = 500
BATCH_BYTES = 1_048_576

DETAILS = {
    "invalid_body": "the body of kind `data` is a JSON text",
    "no_such_attachment": "a message takes files that its user has uploaded and no other message has",
}
REFUSALS = {refusal.code: refusal for refusal in Refusal}


def cut(entries: Iterable[Entry], *, most: int = BATCH_ROWS) -> list[Entry]:
    """The longest head that may be one batch: bounded, and ending before a repeat of a key, a changed message or a file."""
    batch: list[Entry] = []
    seen: set[tuple[str, str]] = set()
    size = 0
    for entry in entries:
        keys = {(entry.device, entry.frame.client_id), ("", target(entry.frame) or str(len(batch)))}
        if isinstance(entry.frame, Send) and entry.frame.attachments:
            keys |= {("file", file) for file in entry.frame.attachments}
        if len(batch) >= most or size >= BATCH_BYTES or seen & keys:
            break
        seen |= keys
        size += entry.size
        batch.append(entry)
    return batch


def batches_of(entries: Sequence[Entry], outcomes: Sequence[Outcome]) -> list[Batch]:
    """What was committed, by conversation, in runs of consecutive numbers.

    What was in doubt and is now found repeated is announced too, at worst once more.
    """
    committed: dict[str, list[Message]] = {}
    for entry, outcome in zip(entries, outcomes, strict=True):
        if _is_news(entry, outcome) and _newest(entry, outcome):
            message = outcome.row or _appended(entry, outcome)
            committed.setdefault(outcome.conversation or "", []).append(message)
    return [
        Batch(conversation=conversation, since=run[0].seq - 1, upto=run[-1].seq, messages=run)
        for conversation, messages in committed.items()
        for run in _runs(messages)
    ]


def _is_news(entry: Entry, outcome: Outcome) -> bool:
    return outcome.verdict == "accepted" or (entry.in_doubt and outcome.verdict == "repeated")


def _newest(entry: Entry, outcome: Outcome) -> bool:
    """Whether the outcome tells the message's newest state: a send that was edited since does not."""
    return not isinstance(entry.frame, Send) or outcome.version == 1


def _runs(messages: list[Message]) -> list[list[Message]]:
    """The messages in parts whose numbers are consecutive. Those of one commit are one part."""
    runs: list[list[Message]] = []
    for message in sorted(messages, key=lambda message: message.seq):
        if runs and runs[-1][-1].seq + 1 == message.seq:
            runs[-1].append(message)
        else:
            runs.append([message])
    return runs


def _appended(entry: Entry, outcome: Outcome) -> Message:
    frame = entry.frame
    assert isinstance(frame, Send)  # amended ones, and those with files, come as rows
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


def answer(entry: Entry, outcome: Outcome) -> Stored | Refused:
    """What the author is told. Of a revoked one nobody looks for what was done, and in doubt it may have been."""
    if entry.in_doubt and outcome.verdict == "revoked":
        return Refused(Refusal.DATABASE_UNAVAILABLE)
    if outcome.verdict not in ("accepted", "repeated"):
        return Refused(
            REFUSALS[outcome.verdict],
            DETAILS.get(outcome.verdict, ""),
            current=outcome.row,
            definite=not _is_covered(entry.frame, outcome),
        )
    return Stored(
        message=outcome.message or "",
        seq=outcome.seq or 0,
        position=outcome.position or 0,
        version=outcome.version or 1,
        created=outcome.created or 0,
        repeated=outcome.verdict == "repeated",
    )


def _is_covered(frame: Write, outcome: Outcome) -> bool:
    """Whether a change may have been done before, and changed again since: only the newest change's key is kept.

    The next version would have been its own; if that is the newest, it is somebody else's.
    """
    if isinstance(frame, Send) or outcome.verdict != "conflict":
        return False
    return (outcome.version or 0) > frame.base_version + 1


def sentence(error: Exception) -> str:
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return (primary or str(error)).rstrip(".")
