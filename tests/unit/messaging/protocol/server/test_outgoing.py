"""Frames leave in order and together; marks can wait, newest only."""

from __future__ import annotations

import json

import pytest

from messaging.protocol.codec import JSON, MSGPACK, Codec
from messaging.protocol.frames import (
    DeviceMark,
    MarkSummary,
    Pong,
    Presence,
    Receipts,
    ServerFrame,
    State,
    UserPresence,
)
from messaging.protocol.server.outgoing import MESSAGE_BYTES, MOST_USERS, UNHEARD_BYTES, Outgoing


def mark(device: str, delivered: int) -> DeviceMark:
    return DeviceMark(device=device, user="u", delivered=delivered)


def summary(last_seq: int) -> Receipts:
    counts = {"devices": 200, "delivered": 1, "read": 1, "lowest_delivered": 0, "lowest_read": 0}
    return Receipts(conversation="c", summary=MarkSummary(last_seq=last_seq, **counts))


def present(user: str, state: State = "online") -> UserPresence:
    return UserPresence(user=user, state=state)


def taken(out: Outgoing) -> list[ServerFrame]:
    data = out.take()
    return [] if data is None else JSON.decode_server(data)


def anything(_: str) -> bool:
    return True


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_what_is_due_leaves_together_and_in_order(codec: Codec) -> None:
    out = Outgoing(codec)
    for ref in range(3):
        out.push(Pong(ref=ref))
    out.push_events(codec.part(Pong(ref="events")))
    assert len(out) == 4
    data = out.take()
    assert data is not None
    assert [frame.ref for frame in codec.decode_server(data)] == [0, 1, 2, "events"]  # type: ignore[union-attr]
    assert out.take() is None


def test_websocket_message_stays_below_its_limit() -> None:
    out, frame = Outgoing(JSON), b'{"type":"pong","ref":"%b"}' % (b"x" * 30_000)
    for _ in range(5):
        out.push_events(frame)
    sizes = []
    while (data := out.take()) is not None:
        sizes.append(len(data))
    assert len(sizes) == 3
    assert max(sizes) <= MESSAGE_BYTES


def test_single_frame_leaves_however_large() -> None:
    out = Outgoing(JSON)
    out.push_events(b"x" * (2 * MESSAGE_BYTES))
    out.push_events(b"y")
    assert [out.take(), out.take()] == ["x" * 2 * MESSAGE_BYTES, "y"]


def test_client_that_is_not_heard_tries_the_patience_with_all_but_events() -> None:
    out = Outgoing(JSON)
    out.push_events(b"x" * UNHEARD_BYTES)
    patience = [out.patient]
    assert out.push_marks("c", b"x" * UNHEARD_BYTES)
    patience.append(out.patient)
    out.heard()
    assert [*patience, out.patient] == [True, False, True]


def test_held_marks_are_the_newest_of_each_device() -> None:
    out = Outgoing(JSON)
    out.hold_marks("c", [mark("a", 1), mark("b", 1)], b"")
    out.hold_marks("c", [mark("a", 2)], b"")
    assert not out.push_marks("c", b"newer ones do not overtake")
    out.release_marks(anything)
    assert not out.holding
    assert taken(out) == [Receipts(conversation="c", marks=[mark("a", 2), mark("b", 1)])]


def test_held_summary_is_the_newest() -> None:
    out = Outgoing(JSON)
    for last_seq in (1, 2):
        out.hold_marks("c", [], JSON.part(summary(last_seq)))
    assert out.holding
    assert not out.push_marks("c", JSON.part(summary(3)))
    out.release_marks(anything)
    assert taken(out) == [summary(2)]


def test_marks_end_the_summary_of_when_the_conversation_was_large() -> None:
    """Behind them it would be the last word."""
    out = Outgoing(JSON)
    out.hold_marks("c", [], JSON.part(summary(1)))
    out.hold_marks("c", [mark("a", 2)], b"")
    out.release_marks(anything)
    assert taken(out) == [Receipts(conversation="c", marks=[mark("a", 2)])]


def test_only_marks_that_may_go_on_are_released() -> None:
    out = Outgoing(JSON)
    out.hold_marks("a", [mark("d", 1)], b"")
    out.hold_marks("b", [], b"summary")
    out.release_marks(lambda conversation: conversation == "none")
    assert out.take() is None
    assert out.holding


def test_marks_of_a_left_conversation_are_dropped() -> None:
    out = Outgoing(JSON)
    out.hold_marks("c", [mark("a", 1)], b"")
    out.hold_marks("c", [], b"summary")
    out.forget("c")
    assert not out.holding


def test_everything_can_be_dropped() -> None:
    out = Outgoing(JSON)
    out.push(Pong())
    out.hold_marks("c", [mark("a", 1)], b"")
    out.hold_marks("d", [], b"summary")
    out.hold_presence([present("u")], stale=True)
    out.discard()
    assert (len(out), out.holding, out.take()) == (0, False, None)


def test_bare_frames_may_overtake_and_the_others_keep_their_order() -> None:
    out = Outgoing(JSON)
    for ref in range(6):
        out.push(Pong(ref=ref), bare=ref % 2 == 1)
    data = out.take_bare()
    assert data is not None
    assert [frame.ref for frame in JSON.decode_server(data)] == [1, 3, 5]  # type: ignore[union-attr]
    assert out.take_bare() is None
    out.push(Pong(ref=6), bare=True)
    assert taken(out) == [Pong(ref=ref) for ref in (0, 2, 4, 6)]
    assert (out.take(), out.take_bare()) == (None, None)


def names(data: str | bytes | None) -> str:
    """The first letters of what the frames refer to; no client may use such long ones."""
    assert isinstance(data, str)
    assert len(data) <= MESSAGE_BYTES
    frames = json.loads(data)
    return "".join(f["ref"][0] for f in (frames if isinstance(frames, list) else [frames]))


def long_frames(*, bare: str) -> Outgoing:
    """Eight frames, two of which make a WebSocket message."""
    out = Outgoing(JSON)
    for name in "abcdefgh":
        out.push(Pong(ref=name * (MESSAGE_BYTES // 3)), bare=name in bare)
    return out


def test_bare_frames_that_make_several_messages_leave_in_order() -> None:
    out = long_frames(bare="abcdfgh")
    assert [names(out.take_bare()) for _ in range(4)] == ["ab", "cd", "fg", "h"]
    assert names(out.take()) == "e"


def test_what_left_in_a_part_is_not_taken_again_as_bare() -> None:
    out = long_frames(bare="bd")
    assert names(out.take()) == "ab"
    assert names(out.take_bare()) == "d"
    assert [names(out.take()) for _ in range(3)] == ["ce", "fg", "h"]


def test_nothing_bare_is_left_of_what_was_dropped() -> None:
    out = Outgoing(JSON)
    out.push(Pong(), bare=True)
    out.discard()
    out.push(Pong(ref="not bare"))
    assert out.take_bare() is None


def test_held_presence_is_the_newest_of_each_user_and_no_newer_one_overtakes_it() -> None:
    out = Outgoing(JSON)
    out.hold_presence([present("a"), present("b")], stale=False)
    out.hold_presence([present("a", "away")], stale=True)
    assert not out.push_presence(b"newer")
    assert out.holding
    out.release_presence()
    out.release_presence()
    assert taken(out) == [Presence(users=[present("a", "away"), present("b")], stale=True)]


def test_held_presence_of_many_leaves_in_frames_that_a_client_takes() -> None:
    out = Outgoing(JSON)
    users = [present(f"{n}") for n in range(2 * MOST_USERS + 1)]
    out.hold_presence(users, stale=False)
    out.release_presence()
    heard = [frame for _ in range(len(out)) for frame in taken(out)]
    frames = [frame for frame in heard if isinstance(frame, Presence)]
    assert [len(frame.users) for frame in frames] == [MOST_USERS, MOST_USERS, 1]
    assert [user for frame in frames for user in frame.users] == users


def test_that_presence_is_stale_no_more_is_held_although_it_tells_of_nobody() -> None:
    out = Outgoing(JSON)
    out.hold_presence([], stale=True)
    out.hold_presence([], stale=False)
    out.release_presence()
    assert taken(out) == [Presence()]


def test_presence_tries_the_patience_and_may_be_bare() -> None:
    out = Outgoing(JSON)
    assert out.push_presence(JSON.part(Presence(stale=True)), bare=True)
    assert out.take_bare() == '{"type":"presence","stale":true}'
    assert out.push_presence(b"x" * UNHEARD_BYTES)
    assert out.patient is False
