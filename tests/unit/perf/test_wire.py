"""Frames of a fleet: each distinct page is decoded once, and none is taken for another."""

import msgspec
import pytest

from messaging.protocol import frames
from perf import wire


def events(*seqs: int, since: int = 0, body: str = "x") -> bytes:
    messages = [frames.Message(id=f"m{seq}", seq=seq, position=seq, body=body) for seq in seqs]
    frame = frames.Events(conversation="c", since=since, upto=max(seqs), messages=messages)
    return wire.encode([frame])


def raw(data: bytes) -> wire.RawEvents:
    (frame,) = wire.decode(data)
    assert isinstance(frame, wire.RawEvents)
    return frame


def test_devices_that_got_the_same_bytes_share_a_page() -> None:
    pages = wire.Pages()
    first, messages = pages.read(raw(events(1, 2)))
    again, same = pages.read(raw(events(1, 2)))
    assert again is first
    assert same is messages
    assert [entry.seq for entry in first.entries] == [1, 2]


def test_a_page_that_differs_in_anything_is_another_page() -> None:
    pages = wire.Pages()
    first, _ = pages.read(raw(events(1, 2)))
    for other in (events(1, 2, body="y"), events(2), events(1, 2, 3), events(2, since=1)):
        assert pages.read(raw(other))[0] is not first


def test_one_message_may_carry_many_frames_and_unknown_fields() -> None:
    data = b'[{"type":"pong","new":1},{"type":"ok","client_id":"k","seq":3}]'
    pong, ok = wire.decode(data)
    assert isinstance(pong, frames.Pong)
    assert isinstance(ok, frames.Ok)
    assert ok.seq == 3


def test_what_is_no_frame_raises() -> None:
    with pytest.raises(msgspec.DecodeError):
        wire.decode(b'{"type":"nonsense"}')
