"""Promises against the store: what was acknowledged is stored as promised, and nothing else is.

Each request is judged by its key, each stored message once. A request without an answer may or may
not be stored; one that was refused for good may not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from perf.checkers.judgement import Judgement
from perf.checkers.operations import Operation
from perf.checkers.truth import Thread, Truth
from perf.history.events import Acked, Change
from perf.history.reader import Evidence


def examine(evidence: Evidence, truth: Truth, judgement: Judgement) -> None:
    """Judge every promise and every stored message, and fill the ledger's first half."""
    devices = {log.device.device: log.device.id for log in evidence.logs.values()}
    for operation in truth.operations.values():
        _enter(operation, judgement)
        if truth.compared:
            _judge_operation(operation, devices, truth, judgement)
    if truth.compared:
        runs = tuple(f"{run.run}." for run in evidence.runs)
        for thread in truth.threads.values():
            _judge_rows(thread, runs, evidence, truth, judgement)


def _enter(operation: Operation, judgement: Judgement) -> None:
    """Write a request into the ledger."""
    ledger, outcome = judgement.ledger, operation.outcome
    ledger.invoked += 1
    ledger.ok += outcome == "ok"
    ledger.failed += outcome == "failed"
    ledger.indeterminate += outcome == "indeterminate"
    judgement.promises += outcome == "ok"
    if outcome == "ok" and (operation.doubted or operation.refusals):
        judgement.happen("retried request", operation.sent.client_id)


def _judge_operation(
    operation: Operation, devices: Mapping[int, str], truth: Truth, judgement: Judgement
) -> None:
    sent = operation.sent
    thread = truth.threads.get(sent.conversation)
    if operation.outcome == "failed":
        judgement.check("aborted read")
    if thread is None:
        if truth.compared and operation.acks:
            judgement.check("lost ack")
            judgement.convict(
                "lost ack",
                f"Device {sent.device} was promised {sent.client_id} as change {operation.acks[0].seq} of "
                f"conversation {sent.conversation}, which is not stored at all.",
                conversation=sent.conversation,
                device=sent.device,
                seqs=(operation.acks[0].seq,),
            )
        return
    judgement.check("lost ack", "inconsistent", times=len(operation.acks))
    for ack in operation.acks:
        known = truth.keys.get((devices[sent.device], sent.client_id))
        if sent.what != "send":
            row = thread.by_id.get(ack.message)
        elif sent.client_id in truth.astray:
            continue  # judged with the message, which is in another conversation
        else:
            row = known[1] if known is not None else None
        found = (
            _compare(operation, ack, row, thread)
            or _repeated(operation, ack)
            or _taken(operation, ack, thread, truth)
        )
        if found is not None:
            name, what = found
            judgement.convict(
                name,
                f"Device {sent.device} was promised {sent.client_id} as change {ack.seq} (message "
                f"{ack.message}) of conversation {thread.name}, {what}.",
                conversation=thread.name,
                device=sent.device,
                seqs=(ack.seq,),
            )


def _compare(
    operation: Operation, ack: Acked, row: Change | None, thread: Thread
) -> tuple[str, str] | None:
    """What is wrong with a promise: the anomaly's name and half a sentence."""
    if row is None:
        return None if ack.seq <= thread.since else ("lost ack", "but it is not stored")
    wrong: tuple[str, str] | None = None
    if row.id != ack.message:
        wrong = "inconsistent", f"but it is stored as message {row.id}"
    elif ack.version > row.version:
        wrong = "lost ack", f"but only version {row.version} of it is stored"
    elif row.position != ack.position:
        wrong = "inconsistent", f"but its position is {row.position}"
    elif ack.seq > row.seq or (ack.version == row.version and ack.seq != row.seq):
        wrong = "inconsistent", f"but the newest that is stored of it is change {row.seq}"
    elif operation.sent.what == "delete" and not row.deleted:
        wrong = "resurrected", "but it is not deleted"
    return wrong


def _repeated(operation: Operation, ack: Acked) -> tuple[str, str] | None:
    """An edit or a deletion is one change, however often it is promised. (A message may have changed since.)"""
    first = operation.acks[0]
    if operation.sent.what == "send" or (ack.seq, ack.version) == (first.seq, first.version):
        return None
    return "duplicated", f"after it had been promised as change {first.seq}"


def _taken(
    operation: Operation, ack: Acked, thread: Thread, truth: Truth
) -> tuple[str, str] | None:
    """A version of a message is one edit's or deletion's, and so is its number: who overwrites is told `conflict`."""
    if operation.sent.what == "send":
        return None  # each has a message of its own, which is found by its key
    maker = truth.made.get((ack.message, ack.version), operation)
    if maker is not operation:
        return (
            "inconsistent",
            f"but its version {ack.version} was promised to {maker.sent.client_id}",
        )
    if ack.seq > thread.since and thread.owner(ack.seq) != (ack.message, ack.version):
        return "inconsistent", "but that number is another change's"
    return None


def _judge_rows(
    thread: Thread, runs: tuple[str, ...], evidence: Evidence, truth: Truth, judgement: Judgement
) -> None:
    judgement.messages += len(thread.rows)
    judgement.check("phantom", "corrupt", "duplicated", times=len(thread.rows))
    for row in thread.rows:
        if (
            row.device not in truth.numbers
            or row.client_id is None
            or not row.client_id.startswith(runs)
        ):
            judgement.tolerate("written elsewhere")
            continue
        label = f"Message {row.id} (change {row.seq} of conversation {thread.name})"
        for name, what in _judge_row(row, thread, evidence, truth, judgement):
            judgement.convict(
                name,
                f"{label} {what}.",
                conversation=thread.name,
                device=truth.numbers[row.device],
                seqs=(row.seq,),
            )


def _judge_row(
    row: Change,
    thread: Thread,
    evidence: Evidence,
    truth: Truth,
    judgement: Judgement,
) -> Iterator[tuple[str, str]]:
    """What is wrong with a stored message of this run."""
    assert row.device is not None and row.client_id is not None  # noqa: PT018 - the caller's filter
    operation = truth.operations.get(row.client_id)
    if truth.keys[row.device, row.client_id][1] is not row:
        yield "duplicated", f"has the key {row.client_id}, which another stored message has, too"
        return
    if operation is None or operation.sent.device != truth.numbers[row.device]:
        if evidence.whole:
            yield "phantom", f"has the key {row.client_id}, which its device never used"
        return
    _count_row(operation, judgement)
    if operation.outcome == "failed":
        yield "aborted read", f"is stored, though {row.client_id} was refused for good"
    elif operation.sent.conversation != thread.name:
        yield "misrouted", f"was sent to conversation {operation.sent.conversation}"
    elif not thread.has(evidence.logs[operation.sent.device].device.user, row.position):
        yield "misrouted", "is stored, though its author was not in the conversation then"
    elif row.version > 1 and (row.id, row.digest) in truth.refused:
        yield "aborted read", "is stored as an edit has it that was refused for good"
    made = operation if row.version == 1 else truth.made.get((row.id, row.version))
    wanted = made.sent if made is not None and made.sent.what != "delete" else None
    if wanted is not None and not row.deleted and wanted.digest != row.digest:
        yield "corrupt", "is stored with another body than was sent"
    if made is not None and not row.deleted and operation.sent.envelope != row.envelope:
        yield "corrupt", "is stored as another kind or answer or with other files than was sent"


def _count_row(operation: Operation, judgement: Judgement) -> None:
    ledger = judgement.ledger
    ledger.rows += 1
    ledger.stored_ok += operation.outcome == "ok"
    if operation.outcome == "indeterminate":
        ledger.recovered += 1
        judgement.tolerate("recovered")
        judgement.happen("recovered request", operation.sent.client_id)
