"""What goes into one batch, and what its outcomes mean."""

from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from psycopg.pq import DiagnosticField

from messaging.journal.batching import (
    BATCH_BYTES,
    BATCH_ROWS,
    REFUSALS,
    answer,
    batches_of,
    cut,
    sentence,
)
from messaging.journal.writer import Entry, Outcome
from messaging.protocol.errors import Refusal, Refused
from messaging.protocol.frames import Delete, Edit, Message, Send
from messaging.protocol.server.actions import Stored


def send(key: str, *files: str, device: str = "phone", room: str = "room", **more: Any) -> Entry:
    frame = Send(conversation=room, client_id=key, body=key, attachments=files)
    return Entry(device, frame, lambda _: None, **{"size": 200, **more})


def edit(key: str, message: str, **more: Any) -> Entry:
    frame = Edit(message=message, base_version=1, client_id=key, body=key)
    return Entry("phone", frame, lambda _: None, **{"size": 200, **more})


def delete(key: str, message: str) -> Entry:
    frame = Delete(message=message, base_version=1, client_id=key)
    return Entry("phone", frame, lambda _: None, size=200)


def row(seq: int, *, position: int, body: str = "") -> Message:
    return Message(id=f"m{position}", seq=seq, position=position, body=body, created=7)


@dataclass
class Outcomes:
    """Outcomes in the order of a batch's entries."""

    made: list[Outcome] = field(default_factory=list)

    def add(self, verdict: str, seq: int, room: str = "room", **more: Any) -> "Outcomes":
        facts: dict[str, Any] = {"message": f"m{seq}", "position": seq, "version": 1, "row": None}
        facts |= {"created": 7, "user": "ann"} | more
        n = len(self.made)
        self.made.append(Outcome(n=n, verdict=verdict, seq=seq, conversation=room, **facts))
        return self


# Cutting


def test_a_batch_ends_before_a_second_message_with_the_same_file() -> None:
    entries = [send("a", "f1", "f2"), send("b", "f3"), send("c", "f2"), send("d")]
    assert cut(entries) == entries[:2]


def test_a_batch_is_the_longest_head_within_the_rows() -> None:
    waiting = [send(f"m{n}") for n in range(BATCH_ROWS + 1)]
    assert cut(waiting) == waiting[:BATCH_ROWS]
    assert cut(waiting, most=3) == waiting[:3]
    assert cut([]) == []


def test_a_batch_ends_with_the_write_that_fills_its_bytes() -> None:
    half = BATCH_BYTES // 2
    waiting = [send(f"m{n}", size=half) for n in range(3)]
    assert cut(waiting) == waiting[:2]
    giant = [send("giant", size=2 * BATCH_BYTES), send("m1")]
    assert cut(giant) == giant[:1]  # one is always taken, or nothing would move


def test_a_repeat_of_a_key_waits_for_the_next_batch() -> None:
    twins = [send("m1"), send("m2"), send("m1"), send("m3")]
    assert cut(twins) == twins[:2]


def test_the_same_key_of_two_devices_is_no_repeat() -> None:
    waiting = [send("m1"), send("m1", device="laptop")]
    assert cut(waiting) == waiting


@pytest.mark.parametrize("second", [edit("e2", "old"), delete("d2", "old")])
def test_a_message_is_changed_once_in_a_batch(second: Entry) -> None:
    changes = [edit("e1", "old"), edit("e3", "other"), second]
    assert cut(changes) == changes[:2]


# What is announced


def test_consecutive_numbers_of_a_conversation_are_one_batch() -> None:
    entries = [send("a"), send("b", room="hall"), send("c")]
    outcomes = Outcomes().add("accepted", 5).add("accepted", 9, "hall").add("accepted", 6)
    batches = batches_of(entries, outcomes.made)
    assert [(b.conversation, b.since, b.upto) for b in batches] == [("room", 4, 6), ("hall", 8, 9)]
    assert [message.body for message in batches[0].messages] == ["a", "c"]


def test_a_sent_message_is_announced_as_the_database_keeps_it() -> None:
    frame = Send(conversation="room", client_id="k", body="hi", kind="text", reply_to="r")
    entry = Entry("phone", frame, lambda _: None, 200)
    (batch,) = batches_of([entry], Outcomes().add("accepted", 5).made)
    assert batch.messages == [
        Message(
            id="m5",
            seq=5,
            position=5,
            kind="text",
            body="hi",
            created=7,
            device="phone",
            user="ann",
            client_id="k",
            reply_to="r",
        )
    ]


def test_a_changed_message_is_announced_as_the_row_that_came_back() -> None:
    changed = row(6, position=2, body="better")
    outcomes = Outcomes().add("accepted", 6, position=2, version=2, row=changed)
    (batch,) = batches_of([edit("e", "m2")], outcomes.made)
    assert (batch.since, batch.upto, batch.oldest) == (5, 6, 2)
    assert batch.messages == [changed]


def test_what_did_not_happen_now_is_not_announced() -> None:
    entries = [send("a"), send("b"), send("c")]
    outcomes = Outcomes().add("repeated", 5).add("locked", 0).add("conflict", 0)
    assert batches_of(entries, outcomes.made) == []


def test_what_was_in_doubt_and_is_found_committed_is_announced() -> None:
    entries = [send("a", in_doubt=True), send("b"), send("c", in_doubt=True)]
    outcomes = Outcomes().add("repeated", 5).add("repeated", 2).add("accepted", 6)
    (batch,) = batches_of(entries, outcomes.made)
    assert (batch.since, batch.upto) == (4, 6)


def test_numbers_that_are_not_consecutive_are_batches_of_their_own() -> None:
    entries = [send(key, in_doubt=True) for key in "abc"]
    outcomes = Outcomes().add("repeated", 8).add("repeated", 3).add("repeated", 4)
    batches = batches_of(entries, outcomes.made)
    assert [(b.since, b.upto) for b in batches] == [(2, 4), (7, 8)]


def test_a_send_in_doubt_that_was_edited_since_is_left_to_the_edit() -> None:
    outcomes = Outcomes().add("repeated", 9, position=5, version=2)
    assert batches_of([send("a", in_doubt=True)], outcomes.made) == []
    changed = row(9, position=5)
    outcomes = Outcomes().add("repeated", 9, position=5, version=2, row=changed)
    (batch,) = batches_of([edit("e", "m5", in_doubt=True)], outcomes.made)
    assert batch.messages == [changed]


# Answers


@pytest.mark.parametrize(("verdict", "repeated"), [("accepted", False), ("repeated", True)])
def test_what_is_committed_is_answered_with_its_place(verdict: str, repeated: bool) -> None:
    (outcome,) = Outcomes().add(verdict, 9, message="m5", position=5, version=3).made
    assert answer(send("a"), outcome) == Stored(
        message="m5", seq=9, position=5, version=3, created=7, repeated=repeated
    )


def test_a_refusal_carries_the_message_as_it_is() -> None:
    current = row(9, position=5)
    (outcome,) = Outcomes().add("conflict", 9, row=current).made
    refused = answer(send("a"), outcome)
    assert isinstance(refused, Refused)
    assert (refused.refusal, refused.current) == (Refusal.CONFLICT, current)


def test_each_verdict_of_the_database_is_a_refusal_of_the_wire() -> None:
    verdicts = ("revoked", "client_id_reused", "no_such_message", "no_such_conversation")
    for verdict in (*verdicts, "forbidden", "conflict", "invalid_body"):
        refused = answer(send("a"), Outcomes().add(verdict, 1).made[0])
        assert isinstance(refused, Refused)
        assert refused.refusal is REFUSALS[verdict]
        assert "{" not in str(refused)
        assert ": ." not in str(refused)


def test_an_error_is_told_as_one_sentence_without_its_full_stop() -> None:
    said = b"new row violates a constraint."
    primary: dict[int, bytes | None] = {DiagnosticField.MESSAGE_PRIMARY.value: said}
    refused = psycopg.errors.CheckViolation("new row …\nDETAIL: …", info=primary)
    assert sentence(refused) == "new row violates a constraint"
    assert sentence(psycopg.OperationalError("the server went away.")) == "the server went away"
    assert sentence(UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "surrogates")).endswith(
        "surrogates"
    )
