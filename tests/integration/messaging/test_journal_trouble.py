"""What ends a wait in the journal when nothing else does: lanes that end, errors of our own, the close."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from messaging.engine import Engine
from messaging.hub import marks as boards
from messaging.journal import journal as journals
from messaging.journal import lane, settling
from messaging.journal.journal import Journal
from messaging.journal.receipts import Receipts
from messaging.protocol.errors import Refusal, Refused
from messaging.protocol.frames import Edit, Mark, Send
from messaging.protocol.server.actions import Stored
from tests import scene
from tests.integration.messaging.writing import LOCK, count_lock_timeouts, refused_by_the_database
from tests.scene import Psql, Room

pytestmark = pytest.mark.django_db


@contextlib.contextmanager
def locked(room: Room) -> Iterator[None]:
    """A foreign transaction holds the conversation."""
    with scene.connect() as foreign:
        foreign.execute("BEGIN")
        foreign.execute(LOCK, [room.id])
        yield
        foreign.execute("ROLLBACK")


async def sent(journal: Journal, room: Room, *keys: str) -> list[Any]:
    """Send these together; the refusals' codes or the numbers."""
    asked = [
        journal.submit(
            room.first.device, Send(conversation=room.id, client_id=f"{room.id[-8:]}{k}", body=k)
        )
        for k in keys
    ]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    return [told(outcome) for outcome in outcomes]


def told(outcome: object) -> object:
    if isinstance(outcome, Refused):
        return outcome.refusal
    return outcome.seq if isinstance(outcome, Stored) else outcome


def breaks_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    """The next call of a function raises what nobody expects."""
    real, calls = getattr(owner, name), itertools.count()

    def broken(*args: Any, **named: Any) -> Any:
        if next(calls) == 0:
            raise RuntimeError("planted")
        return real(*args, **named)

    monkeypatch.setattr(owner, name, broken)


# Lanes end


@pytest.mark.slow
async def test_an_empty_lane_ends_by_itself_and_its_writes_keep_their_order(
    journal: Journal, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the lock is held still: then it is met again, and all are busy again."""
    monkeypatch.setattr(lane, "LINGER_S", 0.0)
    other = scene.new_room(sql)
    keys = [str(n) for n in range(5)]
    with locked(room):
        for n in range(2):
            assert await sent(journal, room, *keys) == [Refusal.BUSY] * 5
            assert journal._slow
            assert await sent(journal, other, f"{n}") == [3 + n]
            assert not journal._slow
    assert await sent(journal, room, *keys) == [3, 4, 5, 6, 7]
    assert scene.bodies(sql, room.id) == keys
    assert not journal._slow


@pytest.mark.slow
async def test_edits_need_no_further_look_once_the_lane_has_ended(
    journal: Journal, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "LINGER_S", 0.0)
    other = scene.new_room(sql)
    looked: list[object] = []
    frame = Send(conversation=other.id, client_id="m", body="m")
    message = (await journal.submit(other.first.device, frame)).message
    with locked(room):
        assert await sent(journal, room, "a") == [Refusal.BUSY]
    monkeypatch.setattr(journal._writer, "places", looked.append)
    edit = Edit(message=message, base_version=1, client_id="e", body="better")
    assert (await journal.submit(other.first.device, edit)).version == 2
    assert looked == []


@pytest.mark.slow
async def test_a_repeat_of_what_was_busy_finds_its_lane_and_stops_nobody(
    journal: Journal, room: Room
) -> None:
    met = count_lock_timeouts(journal)
    with locked(room):
        assert await sent(journal, room, "a") == [Refusal.BUSY]
        assert await sent(journal, room, "a") == [Refusal.BUSY]
    assert len(met) == 1


async def test_a_send_does_not_overtake_the_edit_before_it_while_their_conversation_is_locked(
    journal: Journal, room: Room, sql: Psql
) -> None:
    (first,) = await sent(journal, room, "first")
    message = sql.execute(
        "SELECT id::text FROM messaging_message WHERE conversation_id = %s AND seq = %s",
        [room.id, first],
    ).fetchone()
    assert message is not None
    with locked(room):
        waiting = asyncio.create_task(sent(journal, room, "held"))
        await scene.eventually(lambda: bool(journal._slow))
        edit = Edit(message=message[0], base_version=1, client_id="e", body="better")
        send = Send(conversation=room.id, client_id="after", body="after")
        told_of: dict[str, object] = {}
        for frame in (edit, send):  # in one moment, so that they are queued together
            journal.put(room.first.device, frame, partial(told_of.__setitem__, frame.client_id))
        await scene.eventually(lambda: len(list(journal._slow)) == 3)
    assert await waiting == [4]
    await scene.eventually(lambda: len(told_of) == 2)
    assert {key: told(outcome) for key, outcome in told_of.items()} == {"e": 5, "after": 6}


# Errors of our own


@pytest.mark.parametrize(
    ("owner", "name"), [(settling, "batches_of"), (journals, "cut")], ids=["answer", "batch"]
)
async def test_an_unexpected_error_of_the_journal_is_logged_and_told_and_it_goes_on(
    journal: Journal,
    room: Room,
    sql: Psql,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: Any,
    name: str,
) -> None:
    breaks_once(monkeypatch, owner, name)
    async with asyncio.timeout(10):
        told = await sent(journal, room, "a", "b")
        assert told == [Refusal.DATABASE_UNAVAILABLE] * 2  # the one that says: perhaps
        assert await sent(journal, room, "a", "b", "c") == [3, 4, 5]
        await journal.drain()
    assert "planted" in caplog.text
    assert scene.bodies(sql, room.id) == ["a", "b", "c"]


async def test_an_unexpected_error_of_the_slow_lane_is_logged_and_told_and_it_goes_on(
    journal: Journal,
    room: Room,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    breaks_once(monkeypatch, lane, "cut")
    async with asyncio.timeout(10):
        with locked(room):
            assert await sent(journal, room, "a") == [Refusal.DATABASE_UNAVAILABLE]
        assert await sent(journal, room, "a", "b") == [3, 4]
        await journal.drain()
    assert "planted" in caplog.text


async def test_an_unexpected_error_of_the_receipts_is_logged_and_the_marks_are_stored(
    shared_database: None,
    room: Room,
    sql: Psql,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    receipts = Receipts()
    breaks_once(monkeypatch, receipts, "_write")
    receipts.start()
    done = [asyncio.Event(), asyncio.Event()]

    def broken() -> None:
        done[0].set()
        raise RuntimeError("planted in a session")

    async with asyncio.timeout(10):
        receipts.put(room.first.device, [Mark(conversation=room.id, delivered=1)], broken)
        receipts.put(room.first.device, [Mark(conversation=room.id, delivered=2)], done[1].set)
        for each in done:
            await each.wait()
        await receipts.drain()
    await receipts.close()
    assert "tried again" in caplog.text
    assert "planted in a session" in caplog.text
    assert scene.count(
        sql, "messaging_receipt", "device_id = %s AND delivered = 2", room.first.device
    )


@pytest.mark.slow
async def test_an_unexpected_error_in_counting_marks_is_logged_and_they_are_counted_after_all(
    monkeypatch: pytest.MonkeyPatch,
    engine: Engine,
    attach: Any,
    room: Room,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(boards, "SUMMARY_S", 0.01)
    monkeypatch.setattr(boards, "SUMMARY_DEVICES", 1)
    breaks_once(monkeypatch, engine.hub.feed, "summaries")
    ann = await attach(room.first)
    engine.hub.marks._to_summarize.add(room.id)
    await ann.hear(lambda f: f["type"] == "receipts" and f.get("summary"))
    assert "planted" in caplog.text


# The end


async def test_whoever_waits_when_the_journal_closes_is_told_that_the_outcome_is_unknown(
    journal: Journal, room: Room, sql: Psql
) -> None:
    waiting = "application_name = 'lockstep slow lane' AND wait_event_type = 'Lock'"
    with locked(room):
        asked = asyncio.ensure_future(sent(journal, room, "a", "b"))
        await scene.eventually(lambda: scene.count(sql, "pg_stat_activity", waiting))
        async with asyncio.timeout(10):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await journal.drain()
            await journal.close()
            outcomes = await asked
    assert outcomes == [Refusal.DATABASE_UNAVAILABLE] * 2
    assert not Refusal.DATABASE_UNAVAILABLE.definite
    assert await sent(journal, room, "c") == [Refusal.SHUTTING_DOWN]


@contextlib.contextmanager
def slow_rows(sql: Psql) -> Iterator[None]:
    """Each row takes the database a millisecond and more."""
    sql.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN PERFORM pg_sleep(0.001); RETURN NEW; END$$"
    )
    sql.execute(
        "CREATE TRIGGER slow BEFORE INSERT ON messaging_message FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    try:
        yield
    finally:
        sql.execute("DROP FUNCTION slow() CASCADE")


async def test_a_batch_that_took_long_is_followed_by_smaller_ones(
    journal: Journal, room: Room, sql: Psql
) -> None:
    """Else a database that falls behind is asked for more and more at a time, and all wait for it together."""

    def ask(*numbers: int) -> list[asyncio.Task[Any]]:
        return [asyncio.create_task(sent(journal, room, f"m{n}")) for n in numbers]

    with slow_rows(sql):
        first = ask(*range(200))
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*first, *ask(*range(200, 450)))
    sizes = (
        "SELECT count(*) FROM messaging_message WHERE body ~ '^m' GROUP BY xmin ORDER BY min(seq)"
    )
    assert [row[0] for row in sql.execute(sizes)] == [200, 125, 125]


async def test_one_bad_row_on_a_slow_disk_does_not_leave_every_other_one_alone(
    journal: Journal, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batch is taken apart; where each commit takes long, none would be made larger again."""
    monkeypatch.setattr(journals, "LONG_S", 0.0)
    with refused_by_the_database(sql, "poison"):
        told = await sent(journal, room, "poison", *(f"m{n}" for n in range(40)))
    assert told == [Refusal.STORAGE_REFUSED, *range(3, 43)]
    sizes = (
        "SELECT count(*) FROM messaging_message WHERE conversation_id = %s AND body ~ '^m'"
        " GROUP BY xmin ORDER BY min(seq)"
    )
    assert [row[0] for row in sql.execute(sizes, [room.id])] == [1, 39]
