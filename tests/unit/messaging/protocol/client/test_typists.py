"""How long typing is said and believed."""

from messaging.protocol.client.happenings import TypingChanged
from messaging.protocol.client.typists import AGAIN_MS, BELIEVE_MS, SAY_MS, Typists
from messaging.protocol.frames import Delete, Message, Send, Typed, Typing

TYPING = Typing(conversation="c1", typing=True)
STOPPED = Typing(conversation="c1", typing=False)


def typed(user: str = "u2", *, typing: bool = True) -> Typed:
    """The server's frame."""
    return Typed(conversation="c1", user=user, typing=typing)


def change(user: str = "u2", *, typing: bool) -> TypingChanged:
    """What the application is told."""
    return TypingChanged(conversation="c1", user=user, typing=typing)


def press(typists: Typists, now: float) -> list[Typing]:
    """Press a key, and send what is due."""
    typists.say("c1")
    return typists.due(now)


def test_typing_is_said_at_once_and_then_at_most_every_three_seconds() -> None:
    """A frame for every key would cost more than the message."""
    typists = Typists()
    assert press(typists, 10) == [TYPING]
    assert press(typists, 10 + SAY_MS - 1) == []
    assert press(typists, 10 + SAY_MS) == [TYPING]
    assert typists.due(10 + 2 * SAY_MS) == [], "nothing is said that nobody does"


def test_giving_up_is_said_only_to_those_who_may_still_believe() -> None:
    """After 6 s they have stopped believing by themselves."""
    typists = Typists()
    typists.say("c1", typing=False)
    assert typists.due(0) == []
    press(typists, 0)
    typists.say("c1", typing=False)
    assert typists.due(BELIEVE_MS - 1) == [STOPPED]
    press(typists, 10_000)
    typists.say("c1", typing=False)
    assert typists.due(10_000 + BELIEVE_MS) == []


def test_sending_ends_it_without_a_frame_and_the_next_key_says_it_anew_in_time() -> None:
    """The message itself tells everybody; sooner the server would drop it."""
    typists = Typists()
    typists.sent([Send(conversation="c1", client_id="k", body="…")])
    press(typists, 0)
    typists.say("c1")
    typists.sent([Delete(message="m", base_version=1, client_id="d")])
    typists.sent([Send(conversation="c1", client_id="k", body="hi")])
    assert typists.due(1) == []
    assert press(typists, 2) == []
    assert typists.deadline == AGAIN_MS
    assert typists.due(AGAIN_MS) == [TYPING]
    assert press(typists, 2 * AGAIN_MS) == []


def test_others_are_believed_for_six_seconds_after_the_last_frame() -> None:
    """One lost frame changes nothing, a lost device stops by itself."""
    typists = Typists()
    deadlines = [typists.deadline]
    assert typists.heard(typed(), 0) == [change(typing=True)]
    assert typists.heard(typed(), SAY_MS) == [], "it is no news"
    assert typists.others("c1") == ["u2"]
    deadlines.append(typists.deadline)
    assert deadlines == [None, SAY_MS + BELIEVE_MS]
    assert typists.over(SAY_MS + BELIEVE_MS - 1) == []
    assert typists.over(SAY_MS + BELIEVE_MS) == [change(typing=False)]
    assert typists.others("c1") == []


def test_others_stop_when_they_say_so_or_when_their_message_comes() -> None:
    """Whichever is first; once each."""
    typists = Typists()
    message = Message(id="m", seq=1, position=1, user="u3")
    foreign = Message(id="n", seq=2, position=2)
    assert typists.arrived("c1", [message]) == []
    for user in ("u2", "u3"):
        typists.heard(typed(user), 0)
    assert typists.heard(typed(typing=False), 1) == [change(typing=False)]
    assert typists.heard(typed(typing=False), 2) == []
    assert typists.arrived("c2", [message]) == []
    assert typists.arrived("c1", [message, foreign]) == [change("u3", typing=False)]


def test_nobody_types_in_a_conversation_that_was_left() -> None:
    """Others are untouched."""
    typists = Typists()
    typists.heard(typed(), 0)
    typists.heard(Typed(conversation="c2", user="u2", typing=True), 0)
    press(typists, 0)
    assert typists.leave("c1") == [change(typing=False)]
    assert (typists.others("c1"), typists.others("c2")) == ([], ["u2"])
    assert press(typists, AGAIN_MS) == [TYPING], "added again, it is said at once"


def test_a_lost_connection_ends_everything() -> None:
    """Nothing that was typed offline is said later."""
    typists = Typists()
    typists.heard(typed(), 0)
    press(typists, 0)
    typists.say("c1")
    assert typists.lose() == [change(typing=False)]
    assert typists.due(1) == []
    assert press(typists, 2) == [TYPING]
