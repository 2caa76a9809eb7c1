"""A batch covers a range, is encoded once, and can be cut without losing what it is."""

from __future__ import annotations

import pytest

from messaging.protocol.codec import JSON, MSGPACK, Codec
from messaging.protocol.frames import Events, Message
from messaging.protocol.server.batch import Batch, Fence

HERE = "10000000-0000-4000-8000-000000000000"


def message(seq: int, position: int | None = None) -> Message:
    return Message(id=f"m{seq}", seq=seq, position=position or seq, body=f"said at {seq}")


MESSAGES = [message(3), message(5, 1), message(6)]
FENCES = (Fence("ann", 4), Fence("bob", 6))
BATCH = Batch(conversation=HERE, since=2, upto=7, messages=MESSAGES, fences=FENCES)


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_batch_is_an_events_frame_on_the_wire(codec: Codec) -> None:
    [frame] = codec.decode_server(codec.join([BATCH.encode(codec)]))
    assert frame == Events(conversation=HERE, since=2, upto=7, messages=MESSAGES)


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_batch_is_encoded_once_for_all_sessions_of_a_codec(codec: Codec) -> None:
    batch = BATCH.after(2)
    assert batch.encode(codec) is batch.encode(codec)


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_batch_of_the_databases_own_text_says_the_same(codec: Codec) -> None:
    raw = Batch(conversation=HERE, since=2, upto=7, json=BATCH.json, count=3, oldest=1)
    assert raw.encode(codec) == BATCH.encode(codec)
    assert raw.messages == MESSAGES
    assert (raw.count, raw.oldest) == (BATCH.count, BATCH.oldest)


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_batch_without_messages_still_moves_the_cursor(codec: Codec) -> None:
    [frame] = codec.decode_server(Batch(conversation=HERE, since=2, upto=7).encode(codec))
    assert frame == Events(conversation=HERE, since=2, upto=7)


def test_batch_counts_its_messages_and_knows_the_oldest_position() -> None:
    assert (BATCH.count, BATCH.oldest) == (3, 1)
    nothing = Batch(conversation=HERE, since=2, upto=7, messages=[])
    assert (nothing.count, nothing.oldest) == (0, 7)


def test_what_a_client_has_is_cut_off() -> None:
    rest = BATCH.after(5)
    assert (rest.since, rest.upto, rest.messages) == (5, 7, MESSAGES[2:])
    assert rest.fences == FENCES[1:]
    assert rest.count == 1


def test_what_is_beyond_a_fence_is_cut_off() -> None:
    head = BATCH.until(4)
    assert (head.since, head.upto, head.messages) == (2, 4, MESSAGES[:1])
    assert head.fences == FENCES[:1]


def test_what_was_created_before_a_position_is_left_out_and_still_covered() -> None:
    """An edit of a hidden message takes a number, but is not shown."""
    seen = BATCH.visible_from(2)
    assert (seen.since, seen.upto) == (2, 7)
    assert [one.seq for one in seen.messages] == [3, 6]
    assert seen.fences == FENCES
