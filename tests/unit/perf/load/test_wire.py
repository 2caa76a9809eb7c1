"""Frames of a fleet: each distinct page is decoded once, and none is taken for another."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from messaging.protocol import frames
from perf.history.events import AnyEvent, Page
from perf.history.recorder import Recorder
from perf.load import wire


def events(*seqs: int, since: int = 0, body: str = "x") -> bytes:
    messages = [frames.Message(id=f"m{seq}", seq=seq, position=seq, body=body) for seq in seqs]
    frame = frames.Events(conversation="c", since=since, upto=max(seqs), messages=messages)
    return wire.encode([frame])


def raw(data: bytes) -> wire.RawEvents:
    (frame,) = wire.decode(data)
    assert isinstance(frame, wire.RawEvents)
    return frame


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    with Recorder(tmp_path / "0.jsonl", run="r", scenario="test", seed=7) as it:
        yield it


def recorded(recorder: Recorder) -> list[Page]:
    recorder.flush()
    lines = msgspec.json.Decoder(AnyEvent).decode_lines(recorder.path.read_bytes())
    return [line for line in lines if isinstance(line, Page)]


def test_devices_that_got_the_same_bytes_share_a_page(recorder: Recorder) -> None:
    pages = wire.Pages(recorder)
    first = pages.read(raw(events(1, 2)))
    assert pages.read(raw(events(1, 2))) is first
    assert [message.seq for message in first.messages] == [1, 2]
    (page,) = recorded(recorder)
    assert (page.page, page.since, page.upto) == (first.number, 0, 2)


def test_a_page_that_differs_in_anything_is_another_page(recorder: Recorder) -> None:
    pages = wire.Pages(recorder)
    first = pages.read(raw(events(1, 2)))
    for other in (events(1, 2, body="y"), events(2), events(1, 2, 3), events(2, since=1)):
        assert pages.read(raw(other)).number != first.number
    assert len(recorded(recorder)) == 5


def test_one_message_may_carry_many_frames_and_unknown_fields() -> None:
    data = b'[{"type":"pong","new":1},{"type":"ok","client_id":"k","seq":3}]'
    pong, ok = wire.decode(data)
    assert isinstance(pong, frames.Pong)
    assert isinstance(ok, frames.Ok)
    assert ok.seq == 3


def test_what_is_no_frame_raises() -> None:
    with pytest.raises(msgspec.DecodeError):
        wire.decode(b'{"type":"nonsense"}')


@pytest.mark.parametrize("kind", get_args(frames.ServerFrame))
def test_every_frame_that_a_server_may_send_is_known(kind: type[frames.Frame]) -> None:
    said = "read"
    try:
        wire.decode(msgspec.json.encode({"type": kind.tag()}))
    except msgspec.ValidationError as error:
        said = str(error)
    assert said == "read" or "missing required field" in said
