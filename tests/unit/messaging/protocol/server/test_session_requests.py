"""What a session bears of its client: unanswered requests, sends after one that was refused, answers that nobody reads."""

from __future__ import annotations

from uuid import uuid4

from messaging.protocol.client.outbox import Outbox
from messaging.protocol.errors import CloseCode, Refusal, Refused
from messaging.protocol.frames import (
    Edit,
    Error,
    Goodbye,
    Mark,
    Message,
    Ping,
    PresenceWatch,
    Receipt,
    Send,
    UserPresence,
)
from messaging.protocol.server.actions import Submit
from messaging.protocol.server.admission import (
    MAX_REQUEST_BYTES,
    MAX_REQUESTS,
    MOST_BLOCKED,
    UNHEEDED,
)
from messaging.protocol.server.batch import Batch
from messaging.protocol.server.outgoing import HEAVY_BYTES
from messaging.protocol.server.session import Session
from tests.unit.messaging.protocol.server.dialogue import (
    HERE,
    bring_up,
    heard,
    opened,
    say,
)


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


def blocked_session() -> Session:
    """A session whose first send was refused as busy."""
    session, first = opened(cursor=10), Send(conversation=HERE, client_id="k0", body="0")
    say(session, first)
    session.settle(first, Refused(Refusal.BUSY))
    heard(session)
    return session


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
    [again] = outbox.ready(1_000)  # it starts slowly
    assert again.client_id == "k0"
    assert len(say(session, again)) == 1
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
