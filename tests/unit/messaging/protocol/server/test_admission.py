"""Requests are bounded, and no send overtakes one that was refused and may be repeated."""

from __future__ import annotations

from messaging.protocol.errors import CloseCode, Refusal
from messaging.protocol.frames import Delete, Edit, Message, Send
from messaging.protocol.server.actions import Identity
from messaging.protocol.server.admission import (
    ABUSE,
    MAX_REQUEST_BYTES,
    MAX_REQUESTS,
    UNHEEDED,
    Admission,
)
from messaging.protocol.server.batch import Batch

HERE, THERE = (f"{n}0000000-0000-4000-8000-000000000000" for n in "12")


def send(client_id: str, conversation: str = HERE, *, body: str = "hi") -> Send:
    return Send(conversation=conversation, client_id=client_id, body=body)


ME = Identity(device="mine", user="u", session="s")


def shown(client_id: str, *, device: str = "mine") -> Batch:
    """A change that the feed shows."""
    message = Message(id="m", seq=2, position=2, device=device, client_id=client_id)
    return Batch(conversation=HERE, since=1, upto=2, messages=[message])


def full() -> Admission:
    admission = Admission()
    for n in range(MAX_REQUESTS):
        assert admission.admit(send(f"k{n}"), known=True) is None
    return admission


def test_requests_beyond_the_limit_are_refused_until_one_is_answered() -> None:
    admission = full()
    delete = Delete(message=HERE, base_version=1, client_id="d")
    assert admission.admit(delete, known=False) is Refusal.OVERLOADED
    assert admission.admit_bodiless() is Refusal.OVERLOADED
    admission.answered(send("k0"))
    assert admission.admit_bodiless() is None
    assert admission.admit(delete, known=False) is Refusal.OVERLOADED
    admission.answered()
    assert admission.admit(delete, known=False) is None


def test_bodies_beyond_the_limit_are_refused_until_one_is_answered() -> None:
    admission, half = Admission(), "x" * (MAX_REQUEST_BYTES // 2)
    first = Edit(message=HERE, base_version=1, client_id="e", body=half)
    assert admission.admit(first, known=False) is None
    assert admission.admit(send("a", body=half), known=True) is None
    assert admission.admit(send("b", THERE), known=True) is Refusal.OVERLOADED
    admission.answered(first)
    assert admission.admit(send("b", THERE), known=True) is None


def test_sends_behind_a_refused_one_wait_for_its_repeat() -> None:
    admission = Admission()
    admission.block(send("a"))
    assert admission.admit(send("b"), known=True) is Refusal.AFTER_REFUSED
    assert admission.admit(send("b", THERE), known=True) is None
    assert admission.admit(send("a"), known=True) is None
    assert admission.admit(send("b"), known=True) is None


def test_of_several_refused_sends_the_one_sent_first_must_come_first() -> None:
    """A later one may be refused at once while the earlier is still under way, and is refused after it."""
    admission = Admission()
    for key in ("z", "y"):
        assert admission.admit(send(key), known=True) is None
    admission.block(send("x"))  # never taken
    for key in ("z", "y"):
        admission.block(send(key))
        admission.answered(send(key))
    assert admission.admit(send("x"), known=True) is Refusal.AFTER_REFUSED
    assert admission.admit(send("y"), known=True) is Refusal.AFTER_REFUSED
    assert [admission.admit(send(key), known=True) for key in "zyx"] == [None] * 3


def test_a_repeat_under_way_beside_the_first_does_not_make_it_the_later_one() -> None:
    admission = Admission()
    for key in ("a", "b", "a"):
        assert admission.admit(send(key), known=True) is None
    for key in ("b", "a"):
        admission.block(send(key))
    assert admission.admit(send("b"), known=True) is Refusal.AFTER_REFUSED
    assert admission.admit(send("a"), known=True) is None


def test_only_who_goes_on_and_on_without_the_refused_send_is_sent_away() -> None:
    admission = Admission()
    admission.block(send("a"))
    for _ in range(UNHEEDED):
        assert admission.unheeded(HERE) is None
    assert admission.unheeded(THERE) is None
    assert admission.unheeded(HERE) is CloseCode.OVERLOADED


def test_repeat_of_the_refused_send_makes_up_for_what_came_instead() -> None:
    admission = Admission()
    for _ in range(2):
        admission.block(send("a"))
        for _ in range(UNHEEDED):
            assert admission.unheeded(HERE) is None
        assert admission.admit(send("a"), known=True) is None


def test_first_refused_send_is_the_one_to_repeat() -> None:
    admission = Admission()
    admission.block(send("a"))
    admission.block(send("b"))
    assert admission.admit(send("b"), known=True) is Refusal.AFTER_REFUSED
    assert admission.admit(send("a"), known=True) is None


def test_nothing_waits_for_a_refused_send_that_the_feed_shows() -> None:
    """Its COMMIT was lost on the way, the client takes it for confirmed: it would wait for ever."""
    admission = Admission()
    for key in ("a", "b"):
        assert admission.admit(send(key), known=True) is None
    for key in ("a", "b"):
        admission.block(send(key))
        admission.answered(send(key))
    admission.show(shown("x", device="another's"), ME)
    admission.show(shown("a", device="another's"), ME)
    assert admission.admit(send("c"), known=True) is Refusal.AFTER_REFUSED
    admission.show(shown("a"), ME)
    assert admission.admit(send("c"), known=True) is Refusal.AFTER_REFUSED, "b must come first now"
    admission.show(shown("b"), ME)
    assert admission.admit(send("c"), known=True) is None


def test_a_send_that_the_feed_showed_before_it_was_refused_holds_up_nothing() -> None:
    """The database's answer may be late by as much as a time-out."""
    admission = Admission()
    assert admission.admit(send("a"), known=True) is None
    admission.show(shown("a"), ME)
    admission.block(send("a"))
    admission.answered(send("a"))
    assert admission.admit(send("b"), known=True) is None


def test_send_refused_as_too_much_stops_the_later_ones() -> None:
    admission = full()
    assert admission.admit(send("late"), known=True) is Refusal.OVERLOADED
    admission.answered(send("k0"))
    assert admission.admit(send("later"), known=True) is Refusal.AFTER_REFUSED
    assert admission.admit(send("late"), known=True) is None


def test_edit_blocks_nothing() -> None:
    admission = Admission()
    admission.block(Edit(message=HERE, base_version=1, client_id="e", body=""))
    assert admission.admit(send("a"), known=True) is None


def test_left_conversation_waits_for_nothing() -> None:
    admission = Admission()
    admission.block(send("a"))
    admission.forget(HERE)
    admission.forget(HERE)
    assert admission.admit(send("b"), known=True) is None


def test_what_is_no_id_is_refused_before_the_database_sees_it() -> None:
    admission = Admission()
    assert admission.admit(send("a", "x"), known=False) is Refusal.NO_SUCH_CONVERSATION
    reply = Send(conversation=HERE, client_id="a", body="", reply_to="x")
    assert admission.admit(reply, known=True) is Refusal.NO_SUCH_MESSAGE
    edit = Edit(message="x", base_version=1, client_id="e", body="")
    assert admission.admit(edit, known=False) is Refusal.NO_SUCH_MESSAGE


def test_frames_that_only_come_too_soon_are_borne_four_times_as_many_as_may_be_under_way() -> None:
    """Each is a good one, too."""
    admission = Admission()
    for _ in range(4 * MAX_REQUESTS - ABUSE):
        admission.behaved()
        assert admission.misbehaved(CloseCode.OVERLOADED, hasty=True) is None
    closed = []
    for _ in range(2 * ABUSE):
        admission.behaved()
        closed.append(admission.misbehaved(CloseCode.OVERLOADED, hasty=True))
    assert CloseCode.OVERLOADED in closed


def test_two_good_frames_make_up_for_a_bad_one() -> None:
    admission = Admission()
    for _ in range(3 * ABUSE):
        assert admission.misbehaved() is None
        admission.behaved()
        admission.behaved()
    admission.behaved()
    for _ in range(ABUSE):
        assert admission.misbehaved(CloseCode.OVERLOADED) is None
    assert admission.misbehaved(CloseCode.OVERLOADED) is CloseCode.OVERLOADED
