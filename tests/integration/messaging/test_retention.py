"""Messages go by age: first as tombstones that every device is told of, later for real, without a wrong device."""

from collections.abc import Iterator
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.core.management import CommandError, call_command
from django.db import connection

from messaging import tombstones
from tests import scene
from tests.device import Device, Frame
from tests.scene import Psql, Room, Seat

pytestmark = pytest.mark.django_db

AGE = """
UPDATE messaging_message SET created = created - interval '40 days', deleted = deleted - interval '40 days'
 WHERE conversation_id = %s AND position <= %s
"""


@pytest.fixture(autouse=True)
def nothing_old(sql: Psql) -> None:
    """The command takes whatever is old: also what another test has left."""
    with sql.transaction():
        sql.execute("SET LOCAL session_replication_role = replica")
        sql.execute("DELETE FROM messaging_message")


def age(sql: Psql, room: Room, *, upto: int) -> None:
    """Make the conversation's beginning 40 days older, and tombstones in it too."""
    with sql.transaction():
        sql.execute("SET LOCAL session_replication_role = replica")
        sql.execute(AGE, [room.id, upto])


def retain_now(*options: str) -> str:
    said = StringIO()
    try:
        call_command("retain", *options, stdout=said)
    finally:
        connection.close()
    return said.getvalue()


retain = sync_to_async(retain_now)


def rows(sql: Psql, room: Room) -> list[tuple[int, int, str, bool]]:
    """Position, number, body and whether it is a tombstone, as people wrote them."""
    found = sql.execute(
        "SELECT position, seq, body, deleted IS NOT NULL FROM messaging_message"
        " WHERE conversation_id = %s AND kind <> 'system' ORDER BY position",
        [room.id],
    )
    return found.fetchall()


async def talked(attach: Any, room: Room, *, count: int) -> tuple[Device, Device]:
    """Both devices after some messages, at 3 and on."""
    ann, bob = await attach(room.first), await attach(room.second)
    for n in range(count):
        answer = await ann.write(room.id, f"m{n}")
    for device in (ann, bob):
        await device.reaches(room.id, answer["seq"])
    return ann, bob


async def test_old_messages_become_tombstones_in_their_order_and_devices_are_told(
    attach: Any, room: Room, sql: Psql
) -> None:
    _, bob = await talked(attach, room, count=5)
    age(sql, room, upto=5)
    assert "3 messages are tombstones now" in await retain("--days", "30")
    assert rows(sql, room) == [
        *((3, 8, "", True), (4, 9, "", True), (5, 10, "", True)),
        *((6, 6, "m3", False), (7, 7, "m4", False)),
    ]
    await bob.reaches(room.id, 10)
    told = bob.seen[room.id][-3:]
    assert [(m["position"], m.get("body", ""), "deleted" in m) for m in told] == [
        (n, "", True) for n in (3, 4, 5)
    ]
    assert "0 messages are tombstones now" in await retain("--days", "30")


async def test_a_dry_run_counts_and_changes_nothing(attach: Any, room: Room, sql: Psql) -> None:
    await talked(attach, room, count=3)
    age(sql, room, upto=4)
    before = rows(sql, room)
    assert "2 messages would become" in await retain("--days", "30", "--dry-run")
    assert rows(sql, room) == before


async def test_files_of_old_messages_go_with_them(attach: Any, room: Room, sql: Psql) -> None:
    message = scene.insert(sql, room.id, "with a file")
    sql.execute(
        "INSERT INTO messaging_attachment (device_id, message_id, name) VALUES (%s, %s, 'plan')",
        [room.first.device, message],
    )
    age(sql, room, upto=3)
    assert "1 files went" in await retain("--days", "30")
    assert scene.count(sql, "messaging_attachment", "message_id = %s", message) == 0


async def test_what_was_interrupted_goes_on_where_it_was(
    attach: Any, room: Room, sql: Psql
) -> None:
    await talked(attach, room, count=4)
    age(sql, room, upto=6)

    def first_batch() -> Iterator[list[UUID]]:
        yield [UUID(str(scene.one(sql, FIRST, room.id)))]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await sync_to_async(tombstones.bury)(first_batch())
    assert [row[3] for row in rows(sql, room)] == [True, False, False, False]
    assert "3 messages are tombstones now" in await retain("--days", "30")


def marked(frame: Frame, seat: Seat) -> bool:
    """Whether it shows a mark of this device."""
    return any(mark["device"] == seat.device for mark in frame.get("marks", []))


BURY = "UPDATE messaging_message SET deleted = now() WHERE kind <> 'system'"
RAISE = "UPDATE messaging_conversation SET purged_seq = last_seq"
REMOVE = "DELETE FROM messaging_message WHERE deleted IS NOT NULL"
SAY = "INSERT INTO messaging_message (conversation_id, body) SELECT %s, %s FROM generate_series(1, 100)"
FIRST = "SELECT id FROM messaging_message WHERE conversation_id = %s AND position = 3"


async def test_a_conversation_that_stays_locked_ends_it_with_one_line(
    attach: Any, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tombstones, "LOCK_TIMEOUT_MS", 20)
    monkeypatch.setattr(tombstones, "ATTEMPTS", 2)
    scene.insert(sql, room.id, "old")
    age(sql, room, upto=3)
    with scene.connect() as other, other.transaction():
        other.execute("SELECT FROM messaging_conversation WHERE id = %s FOR UPDATE", [room.id])
        with pytest.raises(CommandError, match=r"^.*lock timeout\. Run it again: .*$"):
            await retain("--days", "30")


ORDERS = """
CREATE TABLE shop_order (message_id uuid CONSTRAINT shop_order_message_fk
    REFERENCES messaging_message DEFERRABLE INITIALLY DEFERRED)
"""


async def test_a_table_of_the_sites_own_that_refers_to_a_tombstone_is_named_in_a_line(
    room: Room, sql: Psql
) -> None:
    """It was a stack trace, night after night, and nothing behind it ever went."""
    scene.insert(sql, room.id, "ordered")
    sql.execute(BURY)
    age(sql, room, upto=3)
    sql.execute(ORDERS)
    try:
        sql.execute("INSERT INTO shop_order SELECT id FROM messaging_message WHERE position = 3")
        with pytest.raises(
            CommandError, match=r"^.* on table \"shop_order\"\. .*db_constraint=False.*$"
        ):
            await retain("--purge-days", "30")
    finally:
        sql.execute("DROP TABLE shop_order")
    assert await retain("--purge-days", "30") == "1 tombstones are gone.\n"


def test_without_an_age_nothing_goes_and_a_line_says_so() -> None:
    with pytest.raises(CommandError, match="set retention_days"):
        retain_now()


@pytest.mark.parametrize("age", ["-1", "nan", "inf", "1e9"])
@pytest.mark.parametrize("option", ["--days", "--purge-days"])
def test_what_is_no_age_is_told_in_a_line(option: str, age: str) -> None:
    with pytest.raises(CommandError, match=r"^An age is from 0 to 365,000 days, not .*\.$"):
        retain_now(f"{option}={age}")


async def test_old_tombstones_go_for_real_and_live_devices_notice_nothing(
    attach: Any, room: Room, sql: Psql
) -> None:
    ann, bob = await talked(attach, room, count=3)
    await retain("--days", "0")
    await ann.reaches(room.id, 8)
    age(sql, room, upto=5)
    await marks_stored(sql, room, seq=8)
    assert "3 tombstones are gone" in await retain("--purge-days", "30")
    assert rows(sql, room) == []
    assert (await ann.write(room.id, "after"))["seq"] == 9
    await bob.reaches(room.id, 9)


async def test_a_device_that_never_heard_of_what_is_gone_starts_anew_and_shows_what_is_left(
    attach: Any, room: Room, sql: Psql
) -> None:
    ann, bob = await talked(attach, room, count=3)
    await bob.cut()
    await ann.write(room.id, "stays")
    age(sql, room, upto=5)
    await retain("--days", "30")
    await ann.reaches(room.id, 9)
    await marks_stored(sql, room, seq=9)
    age(sql, room, upto=5)
    assert "3 tombstones are gone" in await retain("--purge-days", "30")
    await attach(bob)
    await bob.hear("reset")
    await bob.reaches(room.id, 9)
    assert bob.bodies(room.id) == ["stays"]


async def test_who_left_does_not_start_anew_for_what_went_above_their_stay(
    attach: Any, room: Room, sql: Psql
) -> None:
    ann, bob = await talked(attach, room, count=3)
    assert scene.leave(sql, room.id, room.second.user) == 6
    await bob.hear("left")
    await bob.cut()
    await ann.write(room.id, "after")
    await retain("--days", "0")
    await ann.reaches(room.id, 11)
    age(sql, room, upto=7)
    await marks_stored(sql, room, seq=11)
    assert "4 tombstones are gone" in await retain("--purge-days", "30")
    await attach(bob)
    assert (await bob.ask(type="ping"))["type"] == "pong"
    assert bob.count("reset") == 0
    assert bob.bodies(room.id) == ["m0", "m1", "m2"]


async def test_a_live_device_is_never_left_with_what_went_for_real_before_it_was_told(
    attach: Any, room: Room, sql: Psql
) -> None:
    """All in one transaction, so that nobody can read the tombstones in between; as for a process that was cut off."""
    ann, bob = await talked(attach, room, count=3)
    quiet = scene.new_seat(sql, room.second.user)
    third = await attach(quiet)
    for device in (ann, bob):
        await device.hear(lambda frame: marked(frame, quiet))
    await third.cut()
    with sql.transaction():
        for statement in (BURY, "SET LOCAL lockstep.purge = on", RAISE, REMOVE):
            sql.execute(statement)
    await ann.write(room.id, "stays")
    for device in (ann, bob):
        reset = device.heard.index(await device.hear("reset"))
        await device.reaches(room.id, 9)
        assert device.bodies(room.id) == ["stays"]
        await device.hear(lambda frame: marked(frame, quiet), since=reset)


async def test_whoever_is_cut_off_while_they_start_anew_goes_on_where_they_were(
    attach: Any, room: Room, sql: Psql
) -> None:
    """Over a bad line they would never get there. What this process remembers is of before: it has what is gone."""
    ann, bob = await attach(room.first), await attach(room.second)
    await bob.reaches(room.id, 2)
    await bob.cut()
    for body in ("x" * 1_000, "gone", "x" * 1_000):
        sql.execute(SAY, [room.id, body])
    await ann.reaches(room.id, 302)
    with sql.transaction():
        sql.execute("UPDATE messaging_message SET deleted = now() WHERE body = 'gone'")
    await ann.reaches(room.id, 402)
    with sql.transaction():
        for statement in ("SET LOCAL lockstep.purge = on", RAISE, REMOVE):
            sql.execute(statement)
    bob.acks = False
    await attach(bob)
    await bob.hear("reset")
    await bob.reaches(room.id, 1)
    while (cursor := bob.cursors[room.id]) <= 103:  # page by page, as there is credit
        await bob.say(
            {"type": "receipt", "marks": [{"conversation": room.id, "delivered": cursor}]}
        )
        await bob.reaches(room.id, cursor + 1)
    await bob.cut()
    bob.acks = True
    await attach(bob)
    await bob.reaches(room.id, 402)
    assert bob.count("reset") == 1
    assert bob.bodies(room.id) == scene.bodies(sql, room.id)


async def test_a_message_that_its_device_may_send_once_more_is_kept_as_a_tombstone(
    attach: Any, room: Room, sql: Psql
) -> None:
    """Its device has not heard of it again, so it may still wait in the outbox: sent again it is a repeat."""
    ann = await attach(room.first, acks=False)
    sent = await ann.write(room.id, "once")
    await ann.cut()
    await retain("--days", "0")
    age(sql, room, upto=3)
    assert "0 tombstones are gone" in await retain("--purge-days", "30")
    again = await (await attach(room.first)).write(room.id, "once")
    assert again["message"] == sent["message"]


async def marks_stored(sql: Psql, room: Room, *, seq: int) -> None:
    """Until the database knows that the first device has so much."""
    await scene.eventually(
        lambda: scene.count(
            sql,
            "messaging_receipt",
            "device_id = %s AND conversation_id = %s AND delivered >= %s",
            *(room.first.device, room.id, seq),
        )
    )
