"""What a session refuses to hand over: to former members, and to clients that take without acknowledging."""

from __future__ import annotations

import gc
import tracemalloc
from uuid import uuid4

import pytest

from messaging.protocol.codec import JSON
from messaging.protocol.errors import CloseCode, Refusal, Refused
from messaging.protocol.frames import (
    Conversation,
    Error,
    Events,
    Goodbye,
    Hello,
    Left,
    Mark,
    Message,
    Ok,
    Ping,
    Pong,
    Receipt,
    Receipts,
    Reset,
    Sync,
)
from messaging.protocol.server.actions import Identity, Read, Standing, Stored
from messaging.protocol.server.batch import Fence
from messaging.protocol.server.outgoing import UNHEARD_BYTES
from messaging.protocol.server.session import Session
from messaging.protocol.server.window import Window
from tests.unit.messaging.protocol.server.dialogue import (
    HERE,
    ME,
    bring_up,
    changes,
    heard,
    opened,
    say,
    show_mark,
    written,
)


def test_sync_never_reads_from_beyond_what_the_session_was_sent() -> None:
    """Else a member who was removed meanwhile skips the end of the own stay and reads on."""
    [read] = say(opened(cursor=4), Sync(conversation=HERE, since=9))
    assert isinstance(read, Read)
    assert read.since == 4


def test_sync_ends_at_the_fence_that_its_page_holds() -> None:
    session = opened(cursor=4)
    sync = Sync(conversation=HERE, since=9, ref=1)
    say(session, sync)
    session.answer_sync(sync, changes(4, 10, fences=(Fence(ME, 6),)))
    [events] = heard(session)
    assert isinstance(events, Events)
    assert [message.seq for message in events.messages] == [5, 6]


def test_a_feed_ends_at_the_first_fence_even_if_the_user_came_back_and_left_again_behind_it() -> (
    None
):
    session = opened()
    bring_up(session)
    heard(session)
    session.offer(changes(10, 20, fences=(Fence(ME, 12), Fence(ME, 18))))
    events, left = heard(session)
    assert isinstance(events, Events)
    assert isinstance(left, Left)
    assert (events.upto, left.upto) == (12, 12)


@pytest.mark.parametrize("mute", [False, True])
def test_a_former_member_who_has_not_come_to_the_end_of_the_stay_can_not_find_out_what_follows(
    mute: bool,
) -> None:
    """Neither is the number told, nor is a mark beyond the fence taken, from which one could guess it."""
    session = opened(cursor=4)  # behind, and without a read
    session.offer(changes(10, 12, fences=(Fence(ME, 12),)), mute=mute)
    session.offer(changes(12, 500))
    assert say(session, Receipt(marks=[Mark(conversation=HERE, delivered=13)])) == []
    (refused,) = heard(session)
    assert isinstance(refused, Error)
    assert refused.code == "cursor_ahead"
    assert "(13 > 12)" in refused.message
    assert say(session, Receipt(marks=[Mark(conversation=HERE, delivered=12)])) != []


def test_who_is_added_again_after_tombstones_are_gone_starts_the_conversation_anew() -> None:
    """As at hello: nobody could tell the device any more what to drop of what it has."""
    session = opened(cursor=4)
    session.next_read()
    session.fed(changes(4, 10, fences=(Fence(ME, 8),)), position=10)
    heard(session)
    stay = Standing(conversation=HERE, kind="group", title="", last_seq=40, joined_seq=40, purged=9)
    assert session.join(stay)
    reset, again = heard(session)
    assert isinstance(reset, Reset)
    assert isinstance(again, Conversation)
    assert again.since == 0
    assert session.next_read() == (HERE, 0)


def test_a_session_whose_page_lacks_what_went_for_real_starts_the_conversation_anew() -> None:
    """The standings were read before the purge, the page after it: nobody can say what to drop."""
    session = opened(cursor=4, window=Window(messages=6))
    session.next_read()
    session.fed(changes(4, 7), position=10)
    heard(session)
    session.next_read()
    session.fed(changes(7, 10, purged=9), position=10)
    (reset,) = heard(session)
    assert isinstance(reset, Reset)
    assert session.next_read() == (HERE, 0)  # with the credit of what the client forgets
    session.fed(changes(0, 3, purged=9), position=10)
    assert session.next_read() == (HERE, 3)  # and only once: what is gone was never here
    session.fed(changes(3, 10, purged=9), position=10)
    pages = heard(session)
    assert [(p.since, p.upto) for p in pages if isinstance(p, Events)] == [(0, 3), (3, 10)]


def test_a_live_session_is_not_told_half_of_what_went_for_real_meanwhile() -> None:
    session = opened()
    bring_up(session)
    heard(session)
    session.offer(changes(10, 14, purged=9))
    assert [frame.name for frame in heard(session)] == ["events"]
    session.offer(changes(14, 20, purged=15))
    assert [frame.name for frame in heard(session)] == ["reset"]
    assert session.next_read() == (HERE, 0)


def test_a_sync_from_before_what_went_for_real_is_answered_by_a_reset_and_by_nothing() -> None:
    session = opened()
    bring_up(session)
    heard(session)
    sync = Sync(conversation=HERE, since=4, ref=1)
    say(session, sync)
    session.answer_sync(sync, changes(4, 10, purged=9))
    reset, answer = heard(session)
    assert isinstance(reset, Reset)
    assert answer == Events(conversation=HERE, since=0, upto=0, ref=1)
    assert session.next_read() == (HERE, 0)


def test_pages_are_not_handed_to_a_client_without_credit() -> None:
    session = opened(window=Window(messages=5))
    syncs = [Sync(conversation=HERE, since=0, ref=n) for n in range(8)]
    say(session, *syncs)
    for sync in syncs:
        session.answer_sync(sync, changes(0, 10))
    events, *refusals = heard(session)
    assert isinstance(events, Events)
    assert len(refusals) == 7
    assert all(isinstance(r, Error) and r.code == "overloaded" for r in refusals)


def test_an_open_session_does_not_keep_the_cursors_it_was_greeted_with() -> None:
    """A hello of 1 MiB has 25,000; whoever says many must not cost memory for as long as the session lives."""
    cursors = {str(uuid4()): 10 for _ in range(20_000)} | {HERE: 10}
    data = JSON.encode([Hello(token="t", cursors=cursors)])
    session = Session(JSON)
    standing = Standing(conversation=HERE, kind="group", title="", last_seq=10, joined_seq=1)
    tracemalloc.start()
    try:
        session.receive(data)
        assert tracemalloc.get_traced_memory()[0] > 2_000_000
        session.open(Identity(device="d", user=ME, session="s"), [standing], epoch="e")
        heard(session)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 50_000
    finally:
        tracemalloc.stop()


def test_marks_wait_until_the_feed_is_live() -> None:
    session = opened()
    show_mark(session, 10)
    assert heard(session) == []
    bring_up(session)
    assert [type(frame) for frame in heard(session)] == [Events, Receipts]


def test_a_former_member_is_shown_no_marks() -> None:
    session = opened()
    show_mark(session, 10)
    session.next_read()
    session.fed(changes(0, 10, fences=(Fence(ME, 6),)), position=10)
    assert [type(frame) for frame in heard(session)] == [Events, Left]


def test_a_mute_session_is_told_what_tells_of_nobody_else_and_the_rest_later() -> None:
    session = opened()
    bring_up(session)
    show_mark(session, 10)
    written(session, "m1", Stored(message="m", seq=11, position=11, version=1, created=0))
    written(session, "m2", Refused(Refusal.CONFLICT, current=Message(id="x", seq=9, position=9)))
    written(session, "m3", Refused(Refusal.NO_SUCH_CONVERSATION))
    written(session, "m4", Refused(Refusal.DATABASE_UNAVAILABLE))
    say(session, Ping())
    session.receive("no frame")
    refusal, pong, complaint = heard(session, mute=True)
    assert isinstance(refusal, Error)
    assert isinstance(complaint, Error)
    assert isinstance(pong, Pong)
    assert (refusal.client_id, refusal.retry_after) == ("m4", 1_000)
    assert complaint.code == "bad_frame"
    assert heard(session, mute=True) == []
    assert [type(frame) for frame in heard(session)] == [Events, Receipts, Ok, Error, Error]


def test_a_mute_session_says_goodbye() -> None:
    session = opened()
    bring_up(session)
    session.close(CloseCode.RESTART, reconnect_after=1)
    assert [type(frame) for frame in heard(session, mute=True)] == [Goodbye]


def test_a_client_that_does_not_ack_is_marked_only_when_everything_was_written() -> None:
    """What waits while the session is mute, or behind a long message, has not reached anybody."""
    session = opened(auto_ack=True)
    bring_up(session)
    assert session.outgoing(mute=True) is None
    assert session.written() == []
    heard(session)
    assert session.written() == [Mark(conversation=HERE, delivered=10)]


def test_what_was_dropped_before_it_was_written_is_not_marked_for_a_client_that_does_not_ack() -> (
    None
):
    """It would go on behind it, and never see it."""
    session = opened(auto_ack=True)
    bring_up(session)
    session.close(CloseCode.PAUSED, discard=True)
    assert [type(frame) for frame in heard(session, mute=True)] == [Goodbye]
    assert session.written() == []


def test_a_client_that_only_listens_goes_on_being_shown_marks() -> None:
    session = opened(auto_ack=True)
    bring_up(session)
    shown = 0
    for n in range(4 * UNHEARD_BYTES // 100):
        show_mark(session, n)
        shown += len(heard(session))
        session.written()
    assert shown == 4 * UNHEARD_BYTES // 100 + 1  # and the first page


def test_a_client_that_asks_for_old_pages_and_never_acks_keeps_its_credit() -> None:
    session = opened(auto_ack=True, window=Window(messages=15))
    bring_up(session)
    sync = Sync(conversation=HERE, since=0)
    say(session, sync)
    session.answer_sync(sync, changes(0, 8))
    heard(session)
    assert session.written() == [Mark(conversation=HERE, delivered=10)]
    session.offer(changes(10, 11))
    assert [type(frame) for frame in heard(session)] == [Events]


@pytest.mark.parametrize("code", [CloseCode.REVOKED, CloseCode.PAUSED])
def test_a_device_that_may_be_revoked_gets_no_answer_that_was_on_its_way(code: CloseCode) -> None:
    """When the lease is back its revocation has returned long ago: nobody waits for a process that stood still."""
    session = opened()
    bring_up(session)
    sync = Sync(conversation=HERE, since=0)
    say(session, sync)
    session.close(code, discard=True)
    session.answer_sync(sync, changes(0, 8))
    written(session, "m1", Stored(message="m", seq=11, position=11, version=1, created=0))
    assert [type(frame) for frame in heard(session)] == [Goodbye]


def test_a_revocation_drops_what_a_session_that_is_closing_had_not_sent_yet() -> None:
    session = opened()
    bring_up(session)
    session.close(CloseCode.RESTART, reconnect_after=50)
    session.close(CloseCode.REVOKED, discard=True)
    assert session.closing is CloseCode.REVOKED
    (goodbye,) = heard(session)
    assert isinstance(goodbye, Goodbye)
    assert goodbye.reason == "revoked"
    session.close(CloseCode.PAUSED)  # nothing comes after it
    assert session.closing is CloseCode.REVOKED
    assert heard(session) == []
