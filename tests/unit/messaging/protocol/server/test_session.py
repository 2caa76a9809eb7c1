"""What a session refuses to hand over: to former members, and to clients that take without acknowledging."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any
from uuid import uuid4

import pytest

from messaging.protocol.client.outbox import Outbox
from messaging.protocol.codec import JSON
from messaging.protocol.errors import CloseCode, Refusal, Refused
from messaging.protocol.frames import (
    Conversation,
    DeviceMark,
    Edit,
    Error,
    Events,
    Frame,
    Goodbye,
    Hello,
    Left,
    Mark,
    Message,
    Ok,
    Ping,
    Pong,
    PresenceWatch,
    Receipt,
    Receipts,
    Reset,
    Send,
    ServerFrame,
    Sync,
    UserPresence,
)
from messaging.protocol.server.actions import Identity, Read, Standing, Stored, Submit
from messaging.protocol.server.admission import (
    MAX_REQUEST_BYTES,
    MAX_REQUESTS,
    MOST_BLOCKED,
    UNHEEDED,
)
from messaging.protocol.server.batch import Batch, Fence
from messaging.protocol.server.outgoing import HEAVY_BYTES, UNHEARD_BYTES
from messaging.protocol.server.session import Session
from messaging.protocol.server.window import Window

HERE = "10000000-0000-4000-8000-000000000000"
ME = "me"


def opened(*, cursor: int = 0, window: Window | None = None, auto_ack: bool = False) -> Session:
    """A session in one conversation that has 10 changes, behind at `cursor`."""
    session = Session(JSON, window=window)
    say(session, Hello(token="t", cursors={HERE: cursor}, auto_ack=auto_ack))
    standing = Standing(conversation=HERE, kind="group", title="", last_seq=10, joined_seq=1)
    session.open(Identity(device="d", user=ME, session="s"), [standing], epoch="e")
    heard(session)
    return session


def say(session: Session, *frames: Frame) -> list[object]:
    return list(session.receive(JSON.encode(frames)))


def heard(session: Session, *, mute: bool = False) -> list[ServerFrame]:
    frames: list[ServerFrame] = []
    while (data := session.outgoing(mute=mute)) is not None:
        frames += JSON.decode_server(data)
    return frames


def changes(since: int, upto: int, **more: Any) -> Batch:
    messages = [Message(id=f"m{n}", seq=n, position=n) for n in range(since + 1, upto + 1)]
    return Batch(conversation=HERE, since=since, upto=upto, messages=messages, **more)


def bring_up(session: Session, upto: int = 10) -> None:
    session.next_read()
    session.fed(changes(0, upto), position=upto)


def show_mark(session: Session, delivered: int) -> None:
    mark = DeviceMark(device="other", user="other", delivered=delivered)
    session.offer_marks(HERE, [mark], JSON.part(Receipts(conversation=HERE, marks=[mark])))


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


def test_unconfirmed_receipts_are_limited_like_every_request() -> None:
    session = opened()
    marks = [Mark(conversation=HERE, delivered=1)]
    for n in range(MAX_REQUESTS):
        say(session, Receipt(marks=marks, ref=n))
    assert heard(session) == []
    say(session, Receipt(marks=marks, ref="more"))
    [refusal] = heard(session)
    assert isinstance(refusal, Error)
    assert (refusal.code, refusal.ref) == ("overloaded", "more")
    session.confirm(0)
    heard(session)
    say(session, Receipt(marks=marks, ref="again"))
    assert heard(session) == []


def written(session: Session, key: str, outcome: Stored | Refused) -> None:
    """A send of the client, answered."""
    frame = Send(conversation=HERE, client_id=key, body=key)
    say(session, frame)
    session.settle(frame, outcome)


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


def blocked_session() -> Session:
    """A session whose first send was refused as busy."""
    session, first = opened(cursor=10), Send(conversation=HERE, client_id="k0", body="0")
    say(session, first)
    session.settle(first, Refused(Refusal.BUSY))
    heard(session)
    return session


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


def test_device_that_never_repeats_the_refused_send_is_sent_away() -> None:
    session, sent = blocked_session(), 0
    while session.closing is None:
        sent += 1
        say(session, Send(conversation=HERE, client_id=f"k{sent}", body=""))
    assert sent == UNHEEDED + 1
    *refused, goodbye = heard(session)
    assert {frame.code for frame in refused if isinstance(frame, Error)} == {"after_refused"}
    assert isinstance(goodbye, Goodbye)
    assert (session.closing, goodbye.reconnect_after) == (CloseCode.OVERLOADED, 5_000)


def test_who_has_sends_refused_for_now_in_ever_more_conversations_is_sent_away() -> None:
    """Each is kept in mind, also one that nobody knows, and good frames in between make up for them."""
    session, told = opened(), 0
    while session.closing is None and told < 2 * MOST_BLOCKED:
        send = Send(conversation=str(uuid4()), client_id="k", body="")
        for action in say(session, Ping(), Ping(), send):
            assert action == Submit(send)
            session.settle(send, Refused(Refusal.UNAVAILABLE))
            told += 1
        heard(session)
    assert told == MOST_BLOCKED
    assert session.closing is CloseCode.OVERLOADED


def test_who_was_shown_what_was_refused_goes_on_with_the_next() -> None:
    """The answer to its COMMIT was lost: the client has it from the feed, and never repeats it."""
    for shown_first in (True, False):
        session, first = opened(), Send(conversation=HERE, client_id="k0", body="0")
        bring_up(session)
        say(session, first)
        own = Message(id="m11", seq=11, position=11, device="d", client_id="k0")
        batch = Batch(conversation=HERE, since=10, upto=11, messages=[own])
        refused = Refused(Refusal.DATABASE_UNAVAILABLE)
        if shown_first:
            session.offer(batch)
            session.settle(first, refused)
        else:
            session.settle(first, refused)
            session.offer(batch)
        heard(session)
        assert say(session, Send(conversation=HERE, client_id="k1", body="1"))
        assert heard(session) == []


def test_our_client_with_thousands_waiting_is_never_told_twice_that_it_went_on() -> None:
    """All that was on its way when the refusal came is told so, and that is a quarter of what is borne."""
    session, outbox = opened(cursor=10), Outbox()
    for n in range(5_000):
        outbox.send(HERE, "", client_id=f"k{n}")
    outbox.start(max_requests=MAX_REQUESTS, max_bytes=MAX_REQUEST_BYTES)
    flying = outbox.ready(0)
    say(session, flying[0])
    session.settle(flying[0], Refused(Refusal.BUSY))  # before the others arrive
    say(session, *flying[1:])
    for frame in heard(session):
        assert isinstance(frame, Error)
        assert outbox.ready(0) == []
        outbox.hold(frame.client_id or "", until=1_000)
    assert session.closing is None
    again = outbox.ready(1_000)
    assert [request.client_id for request in again] == [f"k{n}" for n in range(MAX_REQUESTS)]
    assert len(say(session, *again)) == MAX_REQUESTS
    assert UNHEEDED == 4 * MAX_REQUESTS


def test_large_answers_are_short_or_refused_while_much_waits_for_the_client() -> None:
    """One that asks and does not read has 256 requests under way, each with an answer of up to 100 KiB."""
    session = opened()
    current = Message(id="m", seq=1, position=1, body="x" * 60_000)
    edits = [
        Edit(message=HERE, base_version=1, client_id=f"e{n}", body="") for n in range(MAX_REQUESTS)
    ]
    say(session, *edits)
    for edit in edits:
        session.settle(edit, Refused(Refusal.CONFLICT, current=current))
    assert sum(map(len, session._out._encoded)) < HEAVY_BYTES + 200_000
    watch = PresenceWatch(users=[HERE], ref="w")
    say(session, watch)
    session.answer_watch(watch, [UserPresence(user=HERE, state="online")] * 200, stale=False)
    answers = heard(session)
    conflicts = [a for a in answers if isinstance(a, Error) and a.code == "conflict"]
    assert len(conflicts) == MAX_REQUESTS
    assert [a.current is not None for a in conflicts[:2]] == [True, True]
    assert conflicts[-1].current is None
    refused = answers[-1]
    assert isinstance(refused, Error)
    assert (refused.ref, refused.code) == ("w", "overloaded")
