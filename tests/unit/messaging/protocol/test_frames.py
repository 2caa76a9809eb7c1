"""Frames are values that describe themselves."""

from typing import Any

import msgspec
import pytest

from messaging.protocol import frames
from messaging.protocol.frames import ClientFrame, Hello, Mark, Ping, Receipt, Send, ServerFrame

C = "0198f3a0-0000-7000-8000-00000000c001"
EVERY = [*ClientFrame.__args__, *ServerFrame.__args__]


@pytest.mark.parametrize("peer", [ClientFrame, ServerFrame])
def test_no_two_frames_of_a_peer_have_the_same_name(peer: Any) -> None:
    """The type alone says what a frame is; `typing` goes both ways."""
    names = [frame.__struct_config__.tag for frame in peer.__args__]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("frame", EVERY)
def test_a_frame_is_frozen_and_takes_keywords_only(frame: type[msgspec.Struct]) -> None:
    """Nobody changes what another one holds, or mixes up two numbers."""
    assert frame.__struct_config__.frozen
    if frame.__struct_fields__:
        with pytest.raises(TypeError):
            frame("positional")
    assert frame.__doc__


def test_a_frame_shows_itself_in_one_short_line() -> None:
    """Log lines stay readable, whatever a client sends."""
    shown = str(Send(conversation=C, client_id="k", body="x" * 500))
    assert shown.startswith(f"send conversation={C} client_id=k body=xxx")
    assert shown.endswith("… (500 characters) kind=text")
    assert str(Ping()) == "ping"
    assert str(Receipt(marks=[Mark(conversation=C)])) == "receipt marks=[1]"


def test_a_frame_shows_no_token() -> None:
    """One careless log line gives no device away."""
    assert str(Hello(token="secret", auto_ack=True)) == "hello auto_ack=True"


@pytest.mark.parametrize("name", ["", "c1", C.upper(), C + "\n", C[:-1], "{" + C[1:]])
def test_an_id_is_a_lower_case_uuid_and_nothing_else(name: str) -> None:
    """What reaches the database is a UUID."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"type": "sync", "conversation": name, "since": 0}, frames.Sync)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"type": "hello", "cursors": {name: 0}}, Hello)


@pytest.mark.parametrize(
    "bad",
    [
        {"type": "sync", "conversation": C, "since": -1},
        {"type": "sync", "conversation": C, "since": 2**63},
        {"type": "sync", "conversation": C, "since": 0, "limit": 0},
        {"type": "sync", "conversation": C, "since": 0, "limit": 501},
        {"type": "send", "conversation": C, "client_id": "", "body": ""},
        {"type": "send", "conversation": C, "client_id": "k" * 65, "body": ""},
        {"type": "send", "conversation": C, "client_id": "k", "body": "", "kind": "system"},
        {"type": "edit", "message": C, "client_id": "k", "body": "", "base_version": 0},
        {"type": "presence.set", "state": "offline"},
        {"type": "presence.set", "text": "x" * 141},
        {"type": "presence.set", "until": -1},
        {"type": "presence.set", "until": 253_402_300_800_000},
        {"type": "presence.watch", "users": [C] * 201},
        {"type": "presence.watch", "users": ["me"]},
        {"type": "typing"},
        {"type": "ping", "ref": "r" * 65},
        {"type": "ping", "ref": 2**54},
        {"type": "ping", "ref": 1.5},
    ],
)
def test_a_client_can_not_send_what_is_out_of_bounds(bad: dict[str, object]) -> None:
    """Numbers fit their columns, keys their length; `system` is the database's own word."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(bad, ClientFrame)
