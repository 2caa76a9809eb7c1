"""What a session decides of presence and typing: taken, answered, held back, dropped."""

from __future__ import annotations

import pytest

from messaging.protocol.codec import JSON
from messaging.protocol.errors import CloseCode, Refusal
from messaging.protocol.frames import (
    Error,
    Frame,
    Goodbye,
    Hello,
    Mark,
    Ok,
    Presence,
    PresenceSet,
    PresenceWatch,
    Receipt,
    ServerFrame,
    Typed,
    Typing,
    UserPresence,
)
from messaging.protocol.server.actions import (
    Identity,
    SetPresence,
    ShowTyping,
    Standing,
    StoreMarks,
    Watch,
)
from messaging.protocol.server.admission import MAX_REQUESTS
from messaging.protocol.server.batch import Batch
from messaging.protocol.server.session import Session
from messaging.protocol.server.window import Window
from tests.unit.messaging.protocol.server.dialogue import HERE, heard, say

ELSEWHERE = "20000000-0000-4000-8000-000000000000"
BOB = "b0000000-0000-4000-8000-000000000000"
SET = PresenceSet(state="away", text="lunch", ref=1)
WATCH = PresenceWatch(users=[BOB], ref=2)
TYPED = Typed(conversation=HERE, user=BOB, typing=True)


def opened(*, left_seq: int | None = None, window: Window | None = None) -> Session:
    """A session in one conversation with 4 changes, live unless its user has left."""
    session = Session(JSON, window=window)
    say(session, Hello(token="t", cursors={HERE: 2 if left_seq else 4}))
    standing = Standing(
        conversation=HERE, kind="group", title="", last_seq=4, joined_seq=1, left_seq=left_seq
    )
    session.open(Identity(device="d", user="me", session="s"), [standing], epoch="e")
    session.feeds.settle(HERE, position=4)
    heard(session)
    return session


def refusals(frames: list[ServerFrame]) -> list[tuple[str, object]]:
    return [(frame.code, frame.ref) for frame in frames if isinstance(frame, Error)]


def show(session: Session, *users: UserPresence, stale: bool = False) -> None:
    frame = Presence(users=list(users), stale=stale)
    session.offer_presence(frame.users, JSON.part(frame), stale=stale)


def bob(state: str = "online") -> UserPresence:
    return UserPresence(user=BOB, state=state)  # type: ignore[arg-type]


def starve(session: Session) -> None:
    """Use up all credit."""
    messages = Batch(conversation=HERE, since=4, upto=5, messages=[])
    session.offer(messages)
    session.window.sent(HERE, upto=5, messages=session.window.max_messages, size=1)
    heard(session)


def test_presence_is_set_and_confirmed_to_whoever_asked() -> None:
    session = opened()
    assert say(session, SET) == [SetPresence(SET)]
    session.confirm(SET.ref)
    assert heard(session) == [Ok(ref=1)]


def test_without_a_ref_a_request_about_presence_is_stored_in_silence() -> None:
    session = opened()
    assert say(session, PresenceSet(invisible=True)) == [SetPresence(PresenceSet(invisible=True))]
    session.confirm(None)
    assert heard(session) == []


def test_watch_list_is_answered_with_everyone_on_it() -> None:
    session = opened()
    assert say(session, WATCH) == [Watch(WATCH)]
    session.answer_watch(WATCH, [bob("offline")], stale=True)
    assert heard(session) == [Presence(users=[bob("offline")], stale=True, ref=2)]


def test_what_could_not_be_done_is_declined() -> None:
    session = opened()
    say(session, SET, WATCH)
    session.decline(SET, Refusal.DATABASE_UNAVAILABLE)
    session.decline(WATCH, Refusal.DATABASE_UNAVAILABLE)
    assert refusals(heard(session)) == [("database_unavailable", 1), ("database_unavailable", 2)]


def test_requests_about_presence_are_limited_even_without_a_ref() -> None:
    """Each is a statement."""
    session = opened()
    for _ in range(MAX_REQUESTS):
        say(session, PresenceSet(state="away"))
    assert say(session, SET) == []
    assert refusals(heard(session)) == [("overloaded", 1)]
    session.confirm(None)
    assert say(session, SET) == [SetPresence(SET)]


def test_whoever_goes_on_regardless_is_told_goodbye() -> None:
    session = opened()
    say(session, *[SET] * (MAX_REQUESTS + 200))
    assert session.closing is CloseCode.OVERLOADED
    assert isinstance(heard(session)[-1], Goodbye)


@pytest.mark.parametrize("frame", [SET, WATCH, Typing(conversation=HERE)])
def test_nothing_is_said_of_presence_before_welcome(frame: Frame) -> None:
    session = Session(JSON)
    assert say(session, frame) == []
    assert refusals(heard(session)) == [("not_ready", getattr(frame, "ref", None))]


@pytest.mark.parametrize("text", ["a\x00b", "x" * 141])
def test_a_text_that_can_not_be_stored_is_refused_with_its_ref(text: str) -> None:
    session = opened()
    data = JSON.encode([PresenceSet(text=text, ref=9)])
    assert session.receive(data) == []
    assert refusals(heard(session)) == [("bad_frame", 9)]


def test_typing_is_shown_once_a_second() -> None:
    session = opened()
    frame = Typing(conversation=HERE)
    assert say(session, frame, frame) == [ShowTyping(frame)]
    session.tick(0.0)
    assert say(session, frame) == [ShowTyping(frame)]
    assert heard(session) == []


@pytest.mark.parametrize("conversation", [HERE, ELSEWHERE])
def test_who_has_left_or_never_came_does_not_type(conversation: str) -> None:
    session = opened(left_seq=3)
    assert say(session, Typing(conversation=conversation)) == []
    assert refusals(heard(session)) == [("no_such_conversation", None)]


def test_typing_of_others_is_shown_to_who_has_all_of_the_conversation() -> None:
    session = opened()
    session.offer_typing(HERE, JSON.part(TYPED))
    session.offer_typing(ELSEWHERE, JSON.part(TYPED))
    assert heard(session) == [TYPED]


def test_typing_is_dropped_for_whoever_does_not_keep_up() -> None:
    session = opened(window=Window(messages=5))
    starve(session)
    session.offer_typing(HERE, JSON.part(TYPED))
    assert not session.ready
    assert heard(session) == []


def test_a_former_member_sees_nobody_type() -> None:
    session = opened(left_seq=3)
    session.offer_typing(HERE, JSON.part(TYPED))
    assert heard(session) == []


def test_presence_is_held_newest_only_for_whoever_does_not_keep_up() -> None:
    session = opened(window=Window(messages=5))
    starve(session)
    show(session, bob())
    show(session, stale=True)
    show(session, bob("away"))
    assert heard(session) == []
    [stored] = say(session, Receipt(marks=[Mark(conversation=HERE, delivered=5)]))
    assert isinstance(stored, StoreMarks)
    assert session.ready
    assert heard(session) == [Presence(users=[bob("away")])]
    show(session, bob("offline"))
    assert heard(session) == [Presence(users=[bob("offline")])]


def test_before_welcome_and_after_goodbye_nobody_is_shown() -> None:
    new, closing = Session(JSON), opened()
    closing.close(CloseCode.PAUSED, reconnect_after=5)
    for session in (new, closing):
        show(session, bob())
        session.offer_typing(HERE, JSON.part(TYPED))
    assert heard(new) == []
    [goodbye] = heard(closing)
    assert isinstance(goodbye, Goodbye)
    assert (goodbye.reason, goodbye.reconnect_after) == ("paused", 5)


def test_a_mute_session_is_told_that_presence_is_stale_and_of_nobody() -> None:
    """The lease is away, for the database is: that much may be said."""
    session = opened()
    show(session, bob())
    show(session, stale=True)
    assert heard(session, mute=True) == [Presence(stale=True)]
    assert heard(session) == [Presence(users=[bob()])]


def test_session_that_somebody_ended_may_come_back() -> None:
    session = opened()
    session.close(CloseCode.DISCONNECTED, reconnect_after=7)
    [goodbye] = heard(session)
    assert isinstance(goodbye, Goodbye)
    assert (goodbye.reason, goodbye.reconnect_after) == ("disconnected", 7)
