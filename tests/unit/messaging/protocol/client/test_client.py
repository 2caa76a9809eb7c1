"""What the core promises beyond the conformance cases."""

import msgspec
import pytest

from messaging.protocol import LOST, Client, Phase, Refused, Saved
from messaging.protocol.client.client import WELCOME_MS
from messaging.protocol.client.happenings import (
    Confirmed,
    Connected,
    Disconnected,
    Joined,
    LeftConversation,
    Problem,
)
from messaging.protocol.client.patience import Patience
from messaging.protocol.frames import (
    ConversationState,
    Error,
    Events,
    Frame,
    Goodbye,
    Left,
    Ok,
    Ping,
    Pong,
    Send,
)
from tests.unit.messaging.protocol.client import welcome

PATIENCE = Patience()
STATE = ConversationState(conversation="c1", kind="group", since=3, last_seq=4, title="T")
WELCOME = msgspec.structs.replace(welcome.WELCOME, conversations=[STATE])


def opened(client: Client | None = None) -> Client:
    return welcome.opened(client, welcome=WELCOME)


def test_a_client_tells_what_welcome_brought() -> None:
    """In the order of the frames."""
    client = Client(random=lambda: 0)
    client.connect(0)
    client.opened(0)
    connected, joined = client.received([WELCOME], 0)
    assert connected == Connected(device="d1", user="u1", session="s1")
    assert isinstance(joined, Joined)
    assert (joined.since, joined.last_seq, joined.title) == (3, 4, "T")


def test_what_was_left_is_told_to_the_application_once() -> None:
    """The server says it after each welcome; who was added meanwhile, and removed again, is told so."""
    client, left = opened(), Left(conversation="c1", upto=4)
    assert client.received([left], 1) == [LeftConversation(conversation="c1", upto=4)]
    assert client.received([left], 2) == []
    assert client.received([Left(conversation="c1", upto=6)], 3)


def test_a_socket_that_opens_after_disconnect_is_not_greeted() -> None:
    """The shell closes it; the phase stays closed."""
    client = Client()
    client.connect(0)
    client.disconnect()
    client.opened(1)
    assert client.phase is Phase.CLOSED
    assert client.due(1) == []
    assert client.deadline is None


def test_frames_that_come_after_the_end_are_ignored() -> None:
    """A late read of a dead connection must not move a cursor."""
    client = opened()
    client.closed(LOST, 1)
    assert client.received([Events(conversation="c1", since=3, upto=4)], 2) == []
    assert client.cursors == {"c1": 3}
    assert client.closed(LOST, 3) == []


def test_a_dead_connection_is_told_by_happened() -> None:
    """`due` returns frames; what it noticed is asked for."""
    client = opened()
    client.due(PATIENCE.silence_ms)
    client.due(PATIENCE.silence_ms + PATIENCE.pong_ms)
    (ended,) = client.happened()
    assert isinstance(ended, Disconnected)
    assert (ended.code, ended.retry_in) == (LOST, 50)
    assert client.happened() == []


def test_an_application_may_be_less_patient() -> None:
    """A dashboard on a cable knows sooner than a phone in a tunnel."""
    client = opened(Client(patience=Patience(silence_ms=500, answer_ms=100, pong_ms=200)))
    client.send("c1", "hi")
    client.due(0)
    assert client.deadline == 100
    assert client.due(100) == [Ping()]
    assert client.deadline == 300
    client.due(300)
    assert client.phase is Phase.WAITING


def test_the_reason_of_a_goodbye_is_told() -> None:
    """The server's sentence, not the number."""
    client = opened()
    client.received([Goodbye(reason="revoked", message="This device was revoked.")], 1)
    (ended,) = client.closed(4501, 2)
    assert ended == Disconnected(code=4501, reason="This device was revoked.", retry_in=None)
    client.connect(3)
    assert client.phase is Phase.CONNECTING, "the application may try again"


def test_the_deadline_is_the_next_thing_to_do() -> None:
    """A shell sleeps until then, and no longer."""
    client = Client(random=lambda: 0.5)
    deadlines = [client.deadline]
    client.connect(0)
    deadlines.append(client.deadline)
    opened(client)
    deadlines.append(client.deadline)
    client.received([Events(conversation="c1", since=3, upto=4)], 10)
    deadlines.append(client.deadline)
    client.due(10)
    client.received([Events(conversation="c1", since=4, upto=5)], 20)
    deadlines.append(client.deadline)
    client.due(110)
    deadlines.append(client.deadline)
    # The first ack is due at once, the second 100 ms later.
    assert deadlines == [None, WELCOME_MS, PATIENCE.silence_ms, 0, 110, 20 + PATIENCE.silence_ms]


def test_bodies_in_flight_are_bounded_in_bytes() -> None:
    """The server would refuse more; one request may always go, however large."""
    client = opened()
    for size in (2_000, 600, 600):
        client.send("c1", "x" * size)
    assert _sizes(client.due(0)) == [2_000]
    client.received([_ok(client)], 1)
    assert _sizes(client.due(1)) == [600]
    client.received([_ok(client)], 2)
    assert _sizes(client.due(2)) == [600]


def _ok(client: Client) -> Ok:
    key = next(iter(client.outbox.entries))
    return Ok(client_id=key, message="m", seq=9, position=9, version=1, created=5)


def _sizes(frames: list[Frame]) -> list[int]:
    return [len(frame.body) for frame in frames if isinstance(frame, Send)]


def test_a_confirmation_carries_the_place_and_the_request() -> None:
    """An application needs no book of its own."""
    client = opened()
    entry = client.send("c1", "hi", client_id="k")
    client.due(0)
    (confirmed,) = client.received([_ok(client)], 1)
    assert confirmed == Confirmed(
        client_id="k",
        conversation="c1",
        request=entry.request,
        message="m",
        seq=9,
        position=9,
        version=1,
        created=5,
    )


def test_a_body_that_can_not_be_stored_never_enters_the_outbox() -> None:
    """The application hears it at once."""
    client = Client()
    with pytest.raises(Refused, match="NUL"):
        client.send("c1", "\x00")
    with pytest.raises(Refused, match="NUL"):
        client.edit("c1", "m1", base_version=1, body="\x00")
    with pytest.raises(Refused, match="client_id"):
        client.delete("c1", "m1", base_version=1, client_id="\x00")
    assert not client.outbox


def test_a_key_is_taken_once() -> None:
    """Two requests with one key would be one request."""
    client = Client()
    client.send("c1", "one", client_id="k")
    with pytest.raises(ValueError, match="k is in the outbox already"):
        client.send("c1", "two", client_id="k")


def test_a_refusal_of_something_else_is_told_as_a_problem() -> None:
    """A bad mark, a bad frame: the application may want to log it."""
    client = opened()
    error = Error(code="cursor_ahead", message="…")
    assert client.received([error, Pong()], 1) == [Problem(error=error)]


def test_a_sync_refused_for_good_is_not_repeated() -> None:
    """The user is no longer in the conversation, say."""
    client = opened()
    client.received([Events(conversation="c1", since=5, upto=6)], 1)
    (sync,) = client.due(1)
    error = Error(code="no_such_conversation", message="…", ref=sync.ref)  # type: ignore[attr-defined]
    assert client.received([error], 2) == [Problem(error=error)]
    assert client.due(10_000) == []


def test_what_was_saved_is_what_a_new_client_starts_with() -> None:
    """And it shares nothing with the value that it came from."""
    request = Send(conversation="c1", client_id="k", body="hi")
    saved = Saved(
        epoch="e1", cursors={"c1": 3}, reads={"c1": 2}, left={"c2": 5}, outbox=[("c1", request)]
    )
    client = Client(saved=saved)
    client.cursors["c1"] = 9
    assert saved.cursors == {"c1": 3}
    assert (client.reads, client.left, client.epoch) == ({"c1": 2}, {"c2": 5}, "e1")
    assert list(client.outbox.entries) == ["k"]
