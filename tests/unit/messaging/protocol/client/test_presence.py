"""Presence and typing inside the whole core."""

from messaging.protocol import LOST
from messaging.protocol.client.happenings import (
    Applied,
    Disconnected,
    PresenceAnswered,
    PresenceChanged,
    TypingChanged,
)
from messaging.protocol.client.holes import AGAIN_MS
from messaging.protocol.client.patience import Patience
from messaging.protocol.client.typists import BELIEVE_MS
from messaging.protocol.frames import (
    Error,
    Events,
    Left,
    Message,
    Ok,
    Presence,
    PresenceSet,
    Receipt,
    Reset,
    Send,
    Typed,
    Typing,
    UserPresence,
)
from tests.unit.messaging.protocol.client.welcome import opened

BOB = UserPresence(user="u2", state="online")
TYPED = Typed(conversation="c1", user="u2", typing=True)
TYPES = TypingChanged(conversation="c1", user="u2", typing=True)
TYPES_NO_MORE = TypingChanged(conversation="c1", user="u2", typing=False)


def test_what_is_known_grows_stale_with_the_connection_and_nobody_types_any_more() -> None:
    """An application that draws what it is told never shows a lost device as typing."""
    client = opened()
    told = client.received([Presence(users=[BOB]), TYPED], 1)
    assert told == [PresenceChanged(users=[BOB], stale=False), TYPES]
    *lost, disconnected = client.closed(LOST, 2)
    assert isinstance(disconnected, Disconnected)
    assert lost == [PresenceChanged(users=[], stale=True), TYPES_NO_MORE]
    assert client.presence.others.users == {"u2": BOB}


def test_disconnecting_is_told_like_a_loss() -> None:
    """It is `happened` that tells it."""
    client = opened()
    client.received([Presence(users=[BOB])], 1)
    client.disconnect()
    assert client.happened() == [PresenceChanged(users=[], stale=True)]


def test_the_end_of_the_typing_is_a_deadline() -> None:
    """A shell that sleeps until then tells it in time."""
    client = opened()
    client.received([TYPED], 5)
    assert client.deadline == 5 + BELIEVE_MS < Patience().silence_ms
    assert client.due(5 + BELIEVE_MS) == []
    assert client.happened() == [TYPES_NO_MORE]
    assert client.deadline == 5 + Patience().silence_ms


def test_a_message_ends_the_typing_before_anything_else_can() -> None:
    """First the message, then that its author types no more."""
    client = opened()
    client.received([TYPED], 1)
    message = Message(id="m", seq=1, position=1, user="u2")
    applied, over = client.received(
        [Events(conversation="c1", since=0, upto=1, messages=[message])], 2
    )
    assert isinstance(applied, Applied)
    assert over == TYPES_NO_MORE


def test_nobody_types_in_a_conversation_that_ended() -> None:
    """Left, or of another database."""
    for end in (Left(conversation="c1", upto=9), Reset(conversation="c1")):
        client = opened()
        client.received([TYPED], 1)
        assert TYPES_NO_MORE in client.received([end], 2)


def test_own_typing_goes_out_until_the_message_does() -> None:
    """The send itself is the end of it; the message is no frame later than it would be."""
    client = opened()
    client.typing("c1")
    assert client.due(0) == [Typing(conversation="c1", typing=True)]
    client.send("c1", "hi", client_id="k")
    client.typing("c1")
    client.typing("c1", typing=False)
    assert client.due(1) == [Send(conversation="c1", client_id="k", body="hi")]


def test_a_refused_wish_is_held_at_least_a_quarter_of_a_second() -> None:
    """With a random half more, so that a crowd does not return at once."""
    client = opened()
    client.set_presence(state="away")
    assert client.due(0) == [PresenceSet(state="away", ref="set-1")]
    error = Error(code="overloaded", message="…", retry_after=1, ref="set-1")
    assert client.received([error], 0) == []
    assert client.deadline == AGAIN_MS * 1.25
    assert client.due(AGAIN_MS * 1.25) == [PresenceSet(state="away", ref="set-2")]
    assert client.received([Ok(ref="set-2")], 400) == [PresenceAnswered(calls=[1], error=None)]


def test_a_refusal_for_good_ends_the_call() -> None:
    """It is told once, as the answer of the call."""
    client = opened()
    client.watch(["nobody"])
    client.due(0)
    error = Error(code="bad_frame", message="…", ref="watch-1")
    assert client.received([error], 0) == [PresenceAnswered(calls=[1], error=error)]


def test_an_answer_to_a_watch_list_tells_and_answers() -> None:
    """There is no `ok` besides."""
    client = opened()
    client.watch(["u2"])
    client.due(0)
    assert client.received([Presence(users=[BOB], ref="watch-1")], 1) == [
        PresenceChanged(users=[BOB], stale=False),
        PresenceAnswered(calls=[1], error=None),
    ]


def test_acks_and_requests_go_before_presence() -> None:
    """What must arrive goes first."""
    client = opened()
    client.received([Events(conversation="c1", since=0, upto=1)], 0)
    client.set_presence(state="away")
    client.send("c1", "hi")
    assert [type(frame) for frame in client.due(0)] == [Receipt, Send, PresenceSet]
