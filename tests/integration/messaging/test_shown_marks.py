"""Marks as sessions are shown them: of others, after hello, past all APIs, and as counts where there are many."""

import asyncio
from typing import Any

import psycopg
import pytest

from messaging.engine import Engine
from messaging.hub import marks as boards
from tests import scene
from tests.device import Device
from tests.integration.messaging.marks import mark, new_room, stored
from tests.scene import Psql, Room

pytestmark = pytest.mark.django_db


@pytest.fixture
def room(sql: Psql) -> Room:
    """Its last change is number 12."""
    return new_room(sql)


async def test_one_device_s_marks_reach_the_others(attach: Any, room: Room) -> None:
    ann, bob = await attach(room.first, acks=False), await attach(room.second, acks=False)
    await bob.reaches(room.id, 12)
    await bob.ask(type="receipt", marks=[{"conversation": room.id, "delivered": 12, "read": 11}])
    seen = await ann.hear(lambda f: f["type"] == "receipts" and f["marks"][0].get("read") == 11)
    (shown,) = seen["marks"]
    assert (shown["device"], shown["user"]) == (room.second.device, room.second.user)
    assert shown["delivered"] == 12
    late = await attach(room.first)
    told = await late.hear(lambda f: f["type"] == "receipts")
    assert (room.second.device, 12) in {(m["device"], m.get("delivered")) for m in told["marks"]}


async def test_a_mark_beyond_the_last_change_is_refused(attach: Any, room: Room, sql: Psql) -> None:
    ann = await attach(room.first)
    await ann.reaches(room.id, 12)
    answer = await ann.ask(type="receipt", marks=[{"conversation": room.id, "delivered": 13}])
    assert answer["code"] == "cursor_ahead"
    await ann.ask(type="receipt", marks=[{"conversation": room.id, "delivered": 12}])
    assert stored(sql, room, room.first.device) == (12, 0)


async def test_a_mark_said_twice_is_confirmed_only_once_it_is_stored(
    attach: Any, room: Room, sql: Psql
) -> None:
    """The second time nothing moves; what was said the first time still waits for somebody's lock."""
    ann, bob = await attach(room.first, acks=False), await attach(room.second, acks=False)
    for one in (ann, bob):
        await one.reaches(room.id, 12)
    said = {"type": "receipt", "marks": [{"conversation": room.id, "delivered": 12}]}
    with scene.connect() as foreign:
        foreign.execute("BEGIN")
        foreign.execute("SELECT FROM presence_device WHERE id = %s FOR UPDATE", [room.first.device])
        await ann.say(said, said | {"ref": "again"})
        await bob.ask(**said)  # in the same round, or a later one
        assert not [frame for frame in ann.heard if frame.get("ref") == "again"]
        foreign.execute("ROLLBACK")
    assert (await ann.hear(lambda frame: frame.get("ref") == "again"))["type"] == "ok"
    assert stored(sql, room, room.first.device) == (12, 0)


async def test_a_session_is_shown_the_marks_although_the_first_look_at_them_fails(
    engine: Engine, attach: Any, room: Room, sql: Psql
) -> None:
    """As after a restart of the database: the connection that is asked first is dead."""
    ann, bob = await attach(room.first), Device(room.second.token)
    await ann.reaches(room.id, 12)
    await ann.ask(type="receipt", marks=[{"conversation": room.id, "delivered": 12}])
    sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'lockstep feed' AND datname = current_database()"
    )
    bob.cursors[room.id] = 12
    await attach(bob)
    told = await bob.hear("receipts")
    assert (room.first.device, 12) in {(m["device"], m.get("delivered")) for m in told["marks"]}


@pytest.mark.slow
async def test_a_pass_that_takes_longer_than_the_one_before_misses_no_mark(
    engine: Engine, attach: Any, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As beside many pages: marks are read at its end, and were looked for in too short a time."""
    compare, look = engine.hub.check, engine.hub.marks.check
    took, looked = [0.0], {True: asyncio.Event(), False: asyncio.Event()}

    async def slowly(conversations: list[str]) -> None:
        await compare(conversations)
        await asyncio.sleep(took[0])

    async def noting(conversations: list[str], *, seconds: float) -> None:
        await look(conversations, seconds=seconds)
        looked[seconds == boards.JOINING_S].set()

    monkeypatch.setattr(engine.hub, "check", slowly)
    monkeypatch.setattr(engine.hub.marks, "check", noting)
    ann, bob = await attach(room.first, acks=False), await attach(room.second, acks=False)
    for one in (ann, bob):
        await one.reaches(room.id, 12)
    await bob.ask(type="receipt", marks=[{"conversation": room.id, "delivered": 11}])
    await looked[True].wait()  # the look of those who come is behind us
    looked[False].clear()
    engine.hub.check_all.set()
    await looked[False].wait()
    with sql.transaction():  # and nobody is told
        sql.execute("SET LOCAL lockstep.writer = 'journal'")
        sql.execute(
            "UPDATE messaging_receipt SET delivered = 12, changed = now() WHERE device_id = %s",
            [room.second.device],
        )
    took[0] = 1.6
    engine.hub.check_all.set()
    await ann.hear(
        lambda frame: (
            (room.second.device, 12)
            in {(m["device"], m.get("delivered")) for m in frame.get("marks", [])}
        )
    )


async def test_a_large_conversation_that_has_shrunk_is_shown_by_marks_again(
    attach: Any, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boards, "SUMMARY_DEVICES", 1)
    monkeypatch.setattr(boards, "SUMMARY_S", 0.01)
    ann, bob = await attach(room.first), await attach(room.second)
    for one in (ann, bob):
        await one.reaches(room.id, 12)
    await ann.hear("receipts")
    await ann.ask(type="receipt", marks=[{"conversation": room.id, "delivered": 12, "read": 11}])
    await ann.hear(lambda frame: "summary" in frame)
    fence = scene.leave(sql, room.id, room.second.user)
    await ann.reaches(room.id, fence)
    await ann.ask(type="receipt", marks=[{"conversation": room.id, "read": fence}])
    told = await ann.hear(lambda frame: fence in {m.get("read") for m in frame.get("marks", [])})
    assert [mark["device"] for mark in told["marks"]] == [room.first.device]


async def test_a_session_that_gets_one_conversation_more_is_shown_its_marks(
    attach: Any, room: Room, sql: Psql
) -> None:
    """As after hello: marks that do not move any more would never be shown."""
    ann, seat = await attach(room.first, acks=False), scene.new_seat(sql)
    await ann.reaches(room.id, 12)
    await ann.ask(type="receipt", marks=[{"conversation": room.id, "delivered": 12, "read": 7}])
    cleo = await attach(seat)
    scene.join(sql, room.id, seat.user)
    await cleo.hear(
        lambda frame: (
            frame["type"] == "receipts"
            and (room.first.device, 12, 7)
            in {(m["device"], m.get("delivered"), m.get("read")) for m in frame["marks"]}
        )
    )


async def test_a_mark_written_by_a_transaction_that_takes_long_is_shown_when_it_commits(
    attach: Any, room: Room, sql: Psql
) -> None:
    """Its time is that of the statement: whoever reads only what moved lately passes it by."""
    bob = await attach(room.second, acks=False)
    await bob.reaches(room.id, 12)
    with scene.connect() as foreign:
        foreign.execute("BEGIN")
        foreign.execute(
            "INSERT INTO messaging_receipt (device_id, conversation_id, delivered) VALUES (%s, %s, 5)",
            [room.first.device, room.id],
        )
        foreign.execute("SET LOCAL lockstep.writer = 'journal'")  # as if an hour had passed since
        long_ago = (
            "UPDATE messaging_receipt SET changed = now() - interval '1 hour' WHERE device_id = %s"
        )
        foreign.execute(long_ago, [room.first.device])
        foreign.execute("COMMIT")
    await bob.hear(
        lambda frame: room.first.device in {mark["device"] for mark in frame.get("marks", [])}
    )


async def test_marks_of_a_hint_that_can_not_be_read_are_left_to_a_pass(
    engine: Engine,
    attach: Any,
    room: Room,
    sql: Psql,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bob = await attach(room.second)
    await bob.hear("receipts")  # its own: nobody reads any more for its welcome
    read, failed = engine.hub.feed.marks, asyncio.Event()

    async def fails_once(*of: Any, **more: Any) -> Any:
        if not failed.is_set():
            failed.set()
            raise psycopg.OperationalError("away")
        return await read(*of, **more)

    monkeypatch.setattr(engine.hub.feed, "marks", fails_once)
    sql.execute(
        "INSERT INTO messaging_receipt (device_id, conversation_id, delivered) VALUES (%s, %s, 5)",
        [room.first.device, room.id],
    )
    await bob.hear(
        lambda frame: room.first.device in {mark["device"] for mark in frame.get("marks", [])}
    )
    assert failed.is_set()
    assert "failed" not in caplog.text


@pytest.mark.slow
async def test_above_a_hundred_devices_marks_are_summaries_at_most_once_a_second(
    engine: Engine, attach: Any, sql: Psql
) -> None:
    seats = [scene.new_seat(sql) for _ in range(101)]
    room = scene.new_room(sql, *seats)
    last = scene.last_seq(sql, room.id)
    ann = await attach(seats[0])
    for seat in seats:
        engine.receipts.put(seat.device, mark(room, 1))
    summary = await ann.hear(lambda f: f["type"] == "receipts" and f.get("summary"))
    assert summary["summary"]["lowest_delivered"] == 1
    late = await attach(seats[1])
    await late.hear(lambda f: f["type"] == "receipts" and f.get("summary"))
    assert not any(f.get("marks") for f in late.heard)
    loop = asyncio.get_running_loop()
    start, place = loop.time(), len(ann.heard)
    n = 0
    while loop.time() < start + 2.5:
        n += 1
        engine.receipts.put(seats[2 + n % 99].device, mark(room, min(last, 2 + n // 99), 1))
        await asyncio.sleep(0.01)
    heard = [f for f in ann.heard[place:] if f["type"] == "receipts"]
    assert 1 <= len(heard) <= 4
    assert not any(f.get("marks") for f in heard)
    for seat in seats:
        engine.receipts.put(seat.device, mark(room, last, last))
    whole = {"last_seq": last, "devices": 101, "delivered": 101, "read": 101}
    await ann.hear(
        lambda f: f["type"] == "receipts" and whole.items() <= f.get("summary", {}).items()
    )
