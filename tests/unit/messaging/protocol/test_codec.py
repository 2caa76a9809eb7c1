"""WebSocket messages to frames and back, whatever a foreign program sends."""

import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from messaging.protocol.codec import CODECS, JSON, MSGPACK, Codec
from messaging.protocol.errors import FrameError, Refusal
from messaging.protocol.frames import (
    MAX_BATCH,
    MAX_FRAME_BYTES,
    Events,
    Frame,
    Message,
    Ping,
    Pong,
    Send,
)

C = "0198f3a0-0000-7000-8000-00000000c001"
SEND = Send(conversation=C, client_id="k", body="hé", ref=7)
BOTH = pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=["json", "msgpack"])


def refusals(codec: Codec, data: str | bytes) -> list[tuple[Refusal, str | int | None] | str]:
    """What a message decodes to: the frame's name, or the refusal and the ref that it carried."""
    return [
        (it.refusal, it.ref) if isinstance(it, FrameError) else it.name
        for it in codec.decode_client(data)
    ]


def packed(codec: Codec, value: object) -> str | bytes:
    """Any value in this encoding."""
    return json.dumps(value) if codec is JSON else msgspec.msgpack.encode(value)


@BOTH
@pytest.mark.parametrize("count", [1, 2, 15, 16, 300, 70_000])
def test_what_is_encoded_decodes_to_the_same_frames(codec: Codec, count: int) -> None:
    """One frame or many, whatever header the count needs."""
    frames: list[Frame] = [Ping(ref=number) for number in range(count)]
    if count < 70_000:
        frames[-1] = SEND
    data = codec.encode(frames)
    assert isinstance(data, bytes) == codec.binary
    if count <= MAX_BATCH:
        assert list(codec.decode_client(data)) == frames
    else:
        assert (
            len(msgspec.msgpack.decode(data) if isinstance(data, bytes) else json.loads(data))
            == count
        )


@BOTH
def test_parts_encoded_once_are_joined_without_encoding_them_again(codec: Codec) -> None:
    """A frame for a thousand sessions is encoded once."""
    parts = [codec.part(SEND), codec.part(Ping())]
    assert codec.join(parts) == codec.encode([SEND, Ping()])
    assert codec.join(parts[:1]) == codec.encode([SEND])


@BOTH
def test_each_bad_frame_of_an_array_gets_its_own_answer(codec: Codec) -> None:
    """The good ones are taken, in order."""
    data = packed(
        codec,
        [
            {"type": "ping", "ref": 1},
            {"type": "pung", "ref": "two"},
            {"type": "sync", "ref": 3},
            {"ref": 4},
            5,
            None,
            [],
            {"type": ["ping"], "ref": 6},
            {"type": "ping", "ref": {}},
            {"type": "ping", "ref": 9},
        ],
    )
    bad = Refusal.BAD_FRAME
    assert refusals(codec, data) == [
        "ping",
        (Refusal.UNKNOWN_TYPE, "two"),
        (bad, 3),
        (bad, 4),
        (bad, None),
        (bad, None),
        (bad, None),
        (bad, 6),
        (bad, None),
        "ping",
    ]


@BOTH
def test_a_refused_send_keeps_its_key(codec: Codec) -> None:
    """A client without refs knows which request is meant."""
    send = {"type": "send", "conversation": C, "client_id": "k", "body": "a\x00b"}
    (error,) = codec.decode_client(packed(codec, send))
    assert isinstance(error, FrameError)
    assert (error.refusal, error.client_id) == (Refusal.INVALID_BODY, "k")


@BOTH
@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"body": "a\x00"}, Refusal.INVALID_BODY),
        ({"body": "x" * 65_537}, Refusal.TOO_LARGE),
        ({"body": "{", "kind": "data"}, Refusal.INVALID_BODY),
        ({"client_id": "\x00"}, Refusal.BAD_FRAME),
        ({"client_id": 5}, Refusal.BAD_FRAME),
        ({"conversation": "c1"}, Refusal.BAD_FRAME),
    ],
)
def test_what_can_not_be_stored_is_refused_before_it_reaches_the_database(
    codec: Codec, change: dict[str, object], refusal: Refusal
) -> None:
    """With the ref that it carried."""
    send = {"type": "send", "conversation": C, "client_id": "k", "body": "hi", "ref": 7}
    assert refusals(codec, packed(codec, {**send, **change})) == [(refusal, 7)]


@pytest.mark.parametrize("half", ["\\ud800", "\\udc00", "\\ud83d x"])
def test_a_lone_surrogate_spoils_only_its_own_frame(half: str) -> None:
    """JSON can spell half a character, UTF-8 can't."""
    send = '{"type":"send","conversation":"%s","client_id":"k","ref":7,"body":"%s"}'
    bad, good = send % (C, half), send % (C, "\\ud83d\\ude00")
    assert refusals(JSON, bad) == [(Refusal.INVALID_BODY, 7)]
    assert refusals(JSON, f'[{bad},{good},{{"type":"ping"}}]') == [
        (Refusal.INVALID_BODY, 7),
        "send",
        "ping",
    ]


def test_bad_utf8_spoils_only_its_own_frame() -> None:
    """MessagePack can hold any bytes as text."""
    bad = MSGPACK.part(SEND).replace("é".encode(), b"\xff\xff")
    data = MSGPACK.join([bad, MSGPACK.part(Ping())])
    assert refusals(MSGPACK, data)[1] == "ping"
    assert refusals(MSGPACK, data)[0] == (Refusal.BAD_FRAME, 7)


@pytest.mark.parametrize(
    "data",
    [
        "",
        " ",
        "[",
        "nul",
        '{"type":',
        "[1,",
        "\ufeff{}",
        "\ud800",
        "[" * 100_000,
        '{"a":' * 50_000,
        '{"type":"ping","x":' + "[" * 50_000 + "]" * 50_000 + "}",
        '[{"type":"ping"},]',
        "[NaN",
    ],
)
def test_text_that_is_no_json_gets_one_answer(data: str) -> None:
    """However deep it is nested."""
    assert refusals(JSON, data) == [(Refusal.BAD_FRAME, None)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x91" * 50_000,
        b"\x81\x81\x01\x02",
        b"\x81\xa4type\xdb\xff\xff\xff\xff",
        "text",
        b"\x82\xa4type\xa4ping\xa1x" + b"\x91" * 50_000,
    ],
)
def test_bytes_that_are_no_messagepack_get_one_answer(data: str | bytes) -> None:
    """However many items they announce; text is of the other subprotocol."""
    assert refusals(MSGPACK, data) == [(Refusal.BAD_FRAME, None)]


@BOTH
def test_a_message_beyond_the_limit_is_not_even_parsed(codec: Codec) -> None:
    """Bytes are counted, not characters."""
    too_large = [(Refusal.TOO_LARGE, None)]
    assert refusals(JSON, "é" * (MAX_FRAME_BYTES // 2 + 1)) == too_large
    assert refusals(codec, b"\x00" * (MAX_FRAME_BYTES + 1)) == too_large


@BOTH
def test_unknown_fields_are_passed_over(codec: Codec) -> None:
    """An older server talks to a newer client."""
    assert refusals(codec, packed(codec, {"type": "ping", "mood": {"good": [1]}})) == ["ping"]


@BOTH
def test_a_client_passes_over_frames_that_it_does_not_know(codec: Codec) -> None:
    """An older client talks to a newer server; but a known frame must be right."""
    assert codec.decode_server(packed(codec, [{"type": "weather"}, {"type": "pong"}])) == [Pong()]
    assert codec.decode_server(packed(codec, {"type": "weather"})) == []
    with pytest.raises(FrameError):
        codec.decode_server(packed(codec, [{"type": "events"}]))
    with pytest.raises(FrameError):
        codec.decode_server(b"\xc1")


@BOTH
def test_server_frames_survive_the_way(codec: Codec) -> None:
    """With everything that a message may hold."""
    message = Message(id=C, seq=2**53, position=1, body="é\n😀", deleted=5)
    events = Events(conversation=C, since=1, upto=2**53, messages=[message])
    assert codec.decode_server(codec.encode([events])) == [events]
    assert codec.decode_server(codec.encode([events, Pong()])) == [events, Pong()]


def test_codecs_are_found_by_their_subprotocol() -> None:
    """The handshake names them."""
    assert {name: codec.subprotocol for name, codec in CODECS.items()} == {
        name: name for name in ("lockstep.v1.json", "lockstep.v1.msgpack")
    }


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["send", "ping", "hello", "type", C]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "ref", "client_id", "body", "marks", "cursors", "x"]), inner
        )
    ),
    max_leaves=12,
)


@given(st.text() | st.binary() | VALUES.map(json.dumps))
@example("[1e400]")
@example('[{"type":"ping","ref":' + "9" * 5_000 + "}]")
@example("[" + "9" * 5_000 + "]")
@example('["\\ud800", ' + "9" * 5_000 + "]")
def test_no_text_makes_the_json_codec_raise(data: str | bytes) -> None:
    """Whatever comes, each part of it is a frame or a typed error."""
    assert all(isinstance(it, (Frame, FrameError)) for it in JSON.decode_client(data))


@given(st.binary() | VALUES.map(msgspec.msgpack.encode))
def test_no_bytes_make_the_messagepack_codec_raise(data: bytes) -> None:
    """Whatever comes, each part of it is a frame or a typed error."""
    for it in MSGPACK.decode_client(data):
        assert isinstance(it, (Frame, FrameError))
        if isinstance(it, FrameError):
            assert str(it)


@BOTH
@pytest.mark.parametrize("part", [{"type": "ping"}, 1, {}, "\ud800"], ids=repr)
def test_a_message_of_too_many_frames_is_refused_as_a_whole(codec: Codec, part: object) -> None:
    """Decoded one by one, a MiB of `1,1,1` held a server up for 25 s."""
    if codec is MSGPACK and part == "\ud800":
        pytest.skip("MessagePack has no lone surrogates")
    [refused] = codec.decode_client(packed(codec, [part] * (MAX_BATCH + 1)))
    assert isinstance(refused, FrameError)
    assert refused.refusal is Refusal.TOO_LARGE
    assert str(MAX_BATCH) in str(refused)
    assert len(list(codec.decode_client(packed(codec, [part] * MAX_BATCH)))) == MAX_BATCH


@BOTH
def test_bad_frames_are_looked_at_only_as_long_as_they_are_asked_for(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that closes after 64 of them does not pay for the rest."""
    looked: list[bytes] = []
    monkeypatch.setattr(
        Codec,
        "_client_frame",
        lambda _, part: looked.append(part) or FrameError(Refusal.BAD_FRAME, ""),
    )
    found = iter(codec.decode_client(packed(codec, [1] * MAX_BATCH)))
    next(found)
    assert len(looked) == 1


@BOTH
@pytest.mark.parametrize("ref", [True, 2**53 + 1, -(2**60), "x" * 65, [1], 0.5], ids=repr)
def test_a_ref_that_no_answer_may_bear_is_not_repeated(codec: Codec, ref: object) -> None:
    """The answer to `"ref": true` was no frame of the protocol."""
    [refused] = codec.decode_client(packed(codec, {"type": "send", "ref": ref}))
    assert isinstance(refused, FrameError)
    assert refused.ref is None
