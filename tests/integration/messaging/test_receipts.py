"""Marks on their way into the database: coalesced, monotone, clamped, durable before they are shown.

How sessions are shown them is in `test_shown_marks`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from messaging import signals
from messaging.journal import receipts as marks_journal
from messaging.journal.receipts import Receipts
from messaging.protocol.frames import DeviceMark, Mark
from tests import scene
from tests.integration.messaging.marks import mark, new_room, stored
from tests.scene import Psql, Room

pytestmark = pytest.mark.django_db

Announced = list[dict[str, list[DeviceMark]]]


@pytest.fixture
async def receipts(
    shared_database: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Receipts]:
    """In a hurry: of the product's times the tests would wait out each."""
    monkeypatch.setattr(marks_journal, "PACE_S", 0.01)
    monkeypatch.setattr(marks_journal, "LOCK_TIMEOUT_MS", 20)
    monkeypatch.setattr(marks_journal, "RETRY_S", 0.02)
    made = Receipts()
    made.start()
    yield made
    await made.close()


@pytest.fixture
def room(sql: Psql) -> Room:
    """Its last change is number 12."""
    return new_room(sql)


@pytest.fixture
def announced() -> Iterator[Announced]:
    heard: Announced = []

    def receive(marks: dict[str, list[DeviceMark]], **_: Any) -> None:
        heard.append(marks)

    signals.receipts_committed.connect(receive)
    yield heard
    signals.receipts_committed.disconnect(receive)


async def test_marks_that_wait_together_are_stored_once_and_only_the_newest(
    receipts: Receipts, room: Room, sql: Psql, announced: Announced
) -> None:
    for n in range(1, 13):
        receipts.put(room.first.device, mark(room, n, n // 2))
        receipts.put(room.second.device, mark(room, n))
    await receipts.drain()
    assert stored(sql, room, room.first.device) == (12, 6)
    assert stored(sql, room, room.second.device) == (12, 0)
    assert len(announced) == 1
    (marks,) = announced[0].values()
    assert {(m.device, m.delivered, m.read) for m in marks} == {
        (room.first.device, 12, 6),
        (room.second.device, 12, 0),
    }
    assert all(m.delivered_at and m.user for m in marks)


async def test_the_first_mark_is_stored_at_once_and_the_next_within_the_pace(
    receipts: Receipts,
    room: Room,
    sql: Psql,
    announced: Announced,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(marks_journal, "PACE_S", 0.1)
    for n in range(1, 6):
        receipts.put(room.first.device, mark(room, n))
        await asyncio.sleep(0.002)
    await receipts.drain()
    assert stored(sql, room, room.first.device) == (5, 0)
    assert 1 < len(announced) < 5


async def test_marks_never_go_back(
    receipts: Receipts, room: Room, sql: Psql, announced: Announced
) -> None:
    receipts.put(room.first.device, mark(room, 9, 7))
    await receipts.drain()
    for delivered, read in ((3, 3), (8, 7), (9, 2)):
        receipts.put(room.first.device, mark(room, delivered, read))
        await receipts.drain()
    assert stored(sql, room, room.first.device) == (9, 7)
    assert len(announced) == 1  # what does not move is not told


async def test_marks_end_at_the_last_change(receipts: Receipts, room: Room, sql: Psql) -> None:
    receipts.put(room.first.device, mark(room, 999, 500))
    await receipts.drain()
    assert stored(sql, room, room.first.device) == (12, 12)


async def test_what_is_read_was_delivered(receipts: Receipts, room: Room, sql: Psql) -> None:
    async with asyncio.timeout(5):
        receipts.put(room.first.device, mark(room, 0, 4))
        await receipts.drain()
    assert stored(sql, room, room.first.device) == (4, 4)


async def test_a_mark_is_stored_before_it_is_announced_and_announced_before_it_is_confirmed(
    receipts: Receipts, room: Room, sql: Psql
) -> None:
    order: list[str] = []

    def receive(marks: dict[str, list[DeviceMark]], **_: Any) -> None:
        assert stored(sql, room, room.first.device) == (5, 0)  # another connection sees it
        order.append("announced")

    signals.receipts_committed.connect(receive)
    receipts.put(room.first.device, mark(room, 5), lambda: order.append("confirmed"))
    await receipts.drain()
    signals.receipts_committed.disconnect(receive)
    assert order == ["announced", "confirmed"]


async def test_marks_survive_the_loss_of_their_connection(
    receipts: Receipts, room: Room, sql: Psql
) -> None:
    done: list[int] = []
    receipts.put(room.first.device, mark(room, 1))
    await receipts.drain()
    for n in range(2, 8):
        sql.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'lockstep receipts' AND datname = current_database()"
        )
        receipts.put(room.first.device, mark(room, n), lambda n=n: done.append(n))  # type: ignore[misc]
    await receipts.drain()
    assert stored(sql, room, room.first.device) == (7, 0)
    assert done == [2, 3, 4, 5, 6, 7]


INSERT = """
INSERT INTO messaging_receipt (device_id, conversation_id, delivered) VALUES (%(device)s, %(room)s, 1)
    ON CONFLICT (device_id, conversation_id) DO UPDATE SET delivered = excluded.delivered
"""
LOCKS = {
    "its row": "SELECT FROM messaging_receipt WHERE device_id = %(device)s FOR UPDATE",
    "its device, and it is new": "SELECT FROM presence_device WHERE id = %(device)s FOR UPDATE",
    "a row of the same key that is being inserted": INSERT,
}


@pytest.mark.parametrize("lock", LOCKS)
async def test_a_mark_that_somebody_holds_locked_waits_alone(
    receipts: Receipts, room: Room, sql: Psql, lock: str
) -> None:
    held, free = room.first.device, room.second.device
    told: list[str] = []
    if lock == "its row":
        receipts.put(held, mark(room, 1))
        await receipts.drain()
    with scene.connect() as foreign:
        foreign.execute("BEGIN")
        foreign.execute(LOCKS[lock].encode(), {"device": held, "room": room.id})
        for n in range(2, 7):  # again and again in the same rounds
            receipts.put(held, mark(room, n), lambda: told.append("held"))
            receipts.put(free, mark(room, n), lambda n=n: told.append(f"free {n}"))  # type: ignore[misc]
            await scene.eventually(lambda n=n: f"free {n}" in told, within=2)  # type: ignore[misc]
        assert stored(sql, room, free) == (6, 0)
        assert "held" not in told
        foreign.execute("ROLLBACK")
    await receipts.drain()
    assert stored(sql, room, held) == (6, 0)
    assert told.count("held") == 5


async def test_marks_of_what_no_longer_exists_hold_up_nobody(
    receipts: Receipts, room: Room, sql: Psql
) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"
    receipts.put(nobody, mark(room, 3))
    receipts.put(room.first.device, [Mark(conversation=nobody, delivered=3), *mark(room, 3)])
    async with asyncio.timeout(5):
        await receipts.drain()
    assert stored(sql, room, room.first.device) == (3, 0)


@pytest.mark.parametrize("how", ["revoked", "deactivated"])
async def test_marks_of_who_may_not_act_any_more_are_neither_stored_nor_confirmed(
    receipts: Receipts, room: Room, sql: Psql, announced: Announced, how: str
) -> None:
    """Its session may live a moment longer, or what it said may still wait here."""
    told: list[str] = []
    receipts.put(room.first.device, mark(room, 3))
    await receipts.drain()
    if how == "revoked":
        scene.revoke(sql, room.first.device)
    else:
        sql.execute("UPDATE presence_user SET is_active = false WHERE id = %s", [room.first.user])
    receipts.put(room.first.device, mark(room, 9, 9), lambda: told.append("ended"))
    receipts.put(room.second.device, mark(room, 9), lambda: told.append("free"))
    await receipts.drain()
    assert stored(sql, room, room.first.device) == (3, 0)
    assert stored(sql, room, room.second.device) == (9, 0)
    assert told == ["free"]
    assert [m.device for marks in announced[1].values() for m in marks] == [room.second.device]


async def test_an_outage_is_logged_when_it_begins_and_when_it_is_over_however_many_tries_it_takes(
    receipts: Receipts,
    room: Room,
    sql: Psql,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(marks_journal, "RETRY_S", 0.01)
    write, tries = receipts._write, 0

    async def refused_five_times(connection: Any, marks: Any) -> None:
        nonlocal tries
        tries += 1
        if tries <= 5:
            await connection.execute("SELECT 1/0")
        await write(connection, marks)

    monkeypatch.setattr(receipts, "_write", refused_five_times)
    receipts.put(room.first.device, mark(room, 3))
    await receipts.drain()
    assert stored(sql, room, room.first.device) == (3, 0)
    assert tries == 6
    begins, over = (record.getMessage() for record in caplog.records)
    assert begins == "marks can't be stored, it is tried again until it works: division by zero"
    assert over.startswith("over after ")
