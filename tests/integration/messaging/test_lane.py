"""Locks of others: a locked conversation holds up nobody else, and keeps its own order."""

import asyncio
import contextlib
from collections.abc import Iterator
from uuid import uuid4

import pytest

from messaging.journal.journal import Journal
from messaging.journal.lane import LOCKED_S
from messaging.protocol.errors import Refusal, Refused
from messaging.protocol.frames import Edit
from messaging.protocol.server.actions import Stored
from tests import scene
from tests.integration.messaging.writing import (
    LOCK,
    code,
    count_lock_timeouts,
    refused_by_the_database,
    send,
    slow_lane_waits,
)
from tests.scene import Psql, Room

pytestmark = pytest.mark.django_db


async def measured(
    journal: Journal, rooms: list[Room], *, until: asyncio.Event
) -> tuple[list[float], list[Refused]]:
    """Send to the rooms in turn, one every 5 ms, until the event; latencies in s."""
    took: list[float] = []
    refused: list[Refused] = []
    asked: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()

    async def one(n: int) -> None:
        began = loop.time()
        room = rooms[n % len(rooms)]
        try:
            await journal.submit(room.first.device, send(room, f"other{n}"))
        except Refused as error:
            refused.append(error)
        took.append(loop.time() - began)

    n = 0
    while not until.is_set():
        asked.add(asyncio.create_task(one(n)))
        n += 1
        await asyncio.sleep(0.005)
    await asyncio.gather(*asked)
    return sorted(took), refused


async def unhindered(journal: Journal, rooms: list[Room]) -> float:
    """The p99 with nothing locked, in s, beyond the 5 ms of a machine at rest: others' doing."""
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(0.5, over.set)
    took, refused = await measured(journal, rooms, until=over)
    assert refused == []
    return max(took[int((len(took) - 1) * 0.99)] - 0.005, 0.0)


async def locked_for(
    seconds: float, journal: Journal, room: Room, others: list[Room]
) -> tuple[list[float], list[str]]:
    """Hold one conversation's lock and write there and elsewhere; the others' latencies, the codes here."""
    over = asyncio.Event()
    codes: list[str] = []
    with scene.connect() as foreign:
        foreign.execute("BEGIN")
        foreign.execute(LOCK, [room.id])
        load = asyncio.create_task(measured(journal, others, until=over))
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            asked = (code(journal, room.first.device, send(room, f"here{n}")) for n in range(10))
            codes += await asyncio.gather(*asked)
        over.set()
        took, refused = await load
        foreign.execute("ROLLBACK")
    assert refused == []
    return took, codes


async def holds_up_nobody(
    seconds: float, journal: Journal, room: Room, sql: Psql, *, quantile: float
) -> None:
    others = [scene.new_room(sql, *room.seats) for _ in range(20)]
    await journal.submit(room.first.device, send(others[0], "warm"))
    noise = await unhindered(journal, others)
    took, codes = await locked_for(seconds, journal, room, others)
    p50, p99, most = (took[int((len(took) - 1) * q)] * 1e3 for q in (0.5, 0.99, 1.0))
    print(
        f"\nlocked for {seconds} s: {len(took)} sends elsewhere, "
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {most:.1f} ms"
    )
    assert set(codes) == {"busy"}
    assert took[int((len(took) - 1) * quantile)] < 0.05 + noise
    asked = [journal.submit(room.first.device, send(room, f"here{n}")) for n in range(10)]
    assert [s.seq for s in await asyncio.gather(*asked)] == list(range(3, 13))
    assert scene.bodies(sql, room.id) == [f"here{n}" for n in range(10)]


@pytest.mark.slow
async def test_a_locked_conversation_is_busy_and_holds_up_nobody(
    journal: Journal, room: Room, sql: Psql
) -> None:
    """The lock is met once, which costs the others 50 ms: that is much of so short a time."""
    await holds_up_nobody(1.5, journal, room, sql, quantile=0.9)


@pytest.mark.long
async def test_a_conversation_locked_for_ten_seconds_holds_up_nobody(
    journal: Journal, room: Room, sql: Psql
) -> None:
    await holds_up_nobody(10.0, journal, room, sql, quantile=0.99)


async def test_writes_behind_a_short_lock_commit_in_order_with_those_that_come_later(
    journal: Journal, room: Room, sql: Psql
) -> None:
    with scene.connect() as foreign:
        foreign.execute("BEGIN")
        foreign.execute(LOCK, [room.id])
        asked = [
            asyncio.ensure_future(journal.submit(room.first.device, send(room, f"a{n}")))
            for n in range(5)
        ]
        await slow_lane_waits(sql)
        asked += [
            asyncio.ensure_future(journal.submit(room.first.device, send(room, f"b{n}")))
            for n in range(5)
        ]
        await asyncio.sleep(0)
        foreign.execute("ROLLBACK")
    assert [s.seq for s in await asyncio.gather(*asked)] == list(range(3, 13))


@pytest.mark.slow
async def test_many_locked_conversations_are_busy_at_once_and_hold_up_none_that_is_free_again(
    journal: Journal, room: Room, sql: Psql
) -> None:
    """As beside a transaction that writes to everybody, and a batch of another process; one after the other took 13 s."""
    rooms = [scene.new_room(sql, *room.seats) for _ in range(12)]
    device = room.first.device
    with scene.connect() as long, scene.connect() as short:
        for foreign, locked in ((long, rooms), (short, [room])):
            foreign.execute("BEGIN")
            for each in locked:
                foreign.execute(LOCK, [each.id])
        held = [asyncio.ensure_future(code(journal, device, send(r, r.id))) for r in rooms]
        freed = asyncio.ensure_future(journal.submit(device, send(room, "m")))
        await scene.eventually(lambda: len(list(journal._slow)) == len(rooms) + 1)
        short.execute("ROLLBACK")
        async with asyncio.timeout(6):
            assert (await freed).seq == 3
            assert set(await asyncio.gather(*held)) == {"busy"}
        long.execute("ROLLBACK")


@contextlib.contextmanager
def slow_to_store(sql: Psql, body: str) -> Iterator[None]:
    """What a site's own trigger, or a slow disk, makes of messages with this body: longer than somebody may be locked out."""
    sql.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN PERFORM pg_sleep({LOCKED_S + 0.2}); RETURN NULL; END $$"
    )
    sql.execute(
        "CREATE TRIGGER slow AFTER INSERT ON messaging_message FOR EACH ROW"
        f" WHEN (NEW.body = '{body}') EXECUTE FUNCTION slow()"
    )
    try:
        yield
    finally:
        sql.execute("DROP FUNCTION slow CASCADE")


@pytest.mark.slow
async def test_a_lock_that_is_met_late_is_waited_for_as_any_other(
    journal: Journal, room: Room, sql: Psql
) -> None:
    """One of another process's short batch: whoever had waited for a slow one before it was refused at the first look."""
    other, device = scene.new_room(sql, *room.seats), room.first.device
    stores = "application_name = 'lockstep slow lane' AND wait_event = 'PgSleep'"
    waits = "application_name = 'lockstep slow lane' AND wait_event_type = 'Lock'"
    with slow_to_store(sql, "slow"), contextlib.ExitStack() as stack:
        first, second, third = (stack.enter_context(scene.connect()) for _ in range(3))
        for foreign, locked in ((first, room), (second, other)):
            foreign.execute("BEGIN")
            foreign.execute(LOCK, [locked.id])
        slow = asyncio.ensure_future(journal.submit(device, send(room, "slow")))
        behind = asyncio.ensure_future(journal.submit(device, send(other, "m")))
        await scene.eventually(lambda: len(list(journal._slow)) == 2)
        first.execute("ROLLBACK")
        await scene.eventually(lambda: scene.count(sql, "pg_stat_activity", stores))
        second.execute("ROLLBACK")
        third.execute("BEGIN")
        third.execute(LOCK, [other.id])
        await slow
        await scene.eventually(lambda: behind.done() or scene.count(sql, "pg_stat_activity", waits))
        third.execute("ROLLBACK")
        assert (await behind).seq == 3


@pytest.mark.parametrize("released", [True, False], ids=["released", "held"])
async def test_a_poison_row_amid_a_locked_conversation_leaves_its_order_alone(
    journal: Journal, room: Room, sql: Psql, released: bool
) -> None:
    """The batch is split because of the one and set aside because of the other."""
    other, device = scene.new_room(sql, *room.seats), room.first.device
    settled: list[Stored | Refused] = []
    with refused_by_the_database(sql, "poison"), scene.connect() as foreign:
        foreign.execute("BEGIN")
        foreign.execute(LOCK, [room.id])
        for n in range(8):
            if n == 5:
                poison = asyncio.ensure_future(code(journal, device, send(other, "p", "poison")))
                await asyncio.sleep(0)
            journal.put(device, send(room, f"m{n}"), settled.append)
        await slow_lane_waits(sql)
        if released:
            foreign.execute("ROLLBACK")
        assert await poison == "storage_refused"
        await scene.eventually(lambda: len(settled) == 8)
        foreign.execute("ROLLBACK")
    if released:
        assert [s.seq for s in settled if isinstance(s, Stored)] == list(range(3, 11))
        assert scene.bodies(sql, room.id) == [f"m{n}" for n in range(8)]
    else:
        assert {s.refusal for s in settled if isinstance(s, Refused)} == {Refusal.BUSY}
        assert scene.bodies(sql, room.id) == []


@pytest.mark.slow
async def test_a_lock_behind_a_conversation_holds_up_its_own_writes_only(
    journal: Journal, room: Room, sql: Psql
) -> None:
    """Here the foreign key of `reply_to` waits for a row that somebody locked."""
    other = scene.new_room(sql)
    device = room.first.device
    locked = (await journal.submit(device, send(room, "m1"))).message
    with scene.connect() as foreign:
        foreign.execute("BEGIN")
        foreign.execute("SELECT FROM messaging_message WHERE id = %s FOR UPDATE", [locked])
        stuck = asyncio.ensure_future(code(journal, device, send(room, "m2", reply_to=locked)))
        behind = asyncio.ensure_future(code(journal, device, send(room, "m3")))
        async with asyncio.timeout(5):
            for n in range(20):
                await journal.submit(other.first.device, send(other, f"m{n}"))
            assert [await stuck, await behind] == ["busy", "busy"]
        foreign.execute("ROLLBACK")
    assert (await journal.submit(device, send(room, "m2", reply_to=locked))).seq == 4


async def test_a_write_to_a_conversation_that_comes_to_be_while_it_waits_is_answered(
    journal: Journal, room: Room, sql: Psql
) -> None:
    """What it waits for is its device, whose row somebody holds."""
    hall = Room(id=str(uuid4()), seats=room.seats)
    with scene.connect() as foreign:
        foreign.execute("BEGIN")
        foreign.execute("SELECT FROM presence_device WHERE id = %s FOR UPDATE", [room.first.device])
        asked = asyncio.ensure_future(journal.submit(room.first.device, send(hall, "m")))
        await slow_lane_waits(sql)
        with sql.transaction():
            sql.execute("INSERT INTO messaging_conversation (id) VALUES (%s)", [hall.id])
            scene.join(sql, hall.id, room.first.user)
        foreign.execute("ROLLBACK")
    async with asyncio.timeout(5):
        assert (await asked).seq == 2


async def test_changes_in_a_locked_conversation_meet_the_lock_once(
    journal: Journal, room: Room, sql: Psql
) -> None:
    """An edit does not say where its message is; each that met the lock cost everyone 50 ms."""
    device, other = room.first.device, scene.new_room(sql, *room.seats)
    asked = [journal.submit(device, send(room, f"m{n}")) for n in range(20)]
    messages = [stored.message for stored in await asyncio.gather(*asked)]
    met = count_lock_timeouts(journal)
    with scene.connect() as foreign:
        foreign.execute("BEGIN")
        foreign.execute(LOCK, [room.id])
        changes = []
        for n, message in enumerate(messages):
            change = Edit(message=message, base_version=1, client_id=f"e{n}", body="edited")
            changes.append(asyncio.ensure_future(code(journal, device, change)))
            await journal.submit(device, send(other, f"other{n}"))
        foreign.execute("ROLLBACK")
        assert len(met) == 1
        await asyncio.gather(*changes, return_exceptions=True)
    assert scene.bodies(sql, other.id) == [f"other{n}" for n in range(20)]


async def test_a_foreign_deadlock_is_a_normal_retry(
    journal: Journal, room: Room, sql: Psql
) -> None:
    """The journal locks by id; a foreign transaction that locks the other way round loses or wins."""
    rooms = sorted((room, scene.new_room(sql, *room.seats)), key=lambda r: r.id)
    over = asyncio.Event()

    def fight() -> int:
        rounds = 0
        with scene.connect() as foreign:
            foreign.execute("SET deadlock_timeout = '5ms'")
            while not over.is_set():
                rounds += 1
                with contextlib.suppress(Exception), foreign.transaction():
                    for each in reversed(rooms):
                        foreign.execute(LOCK, [each.id])
        return rounds

    fighter = asyncio.create_task(asyncio.to_thread(fight))
    stored = []
    for n in range(100):
        stored += await asyncio.gather(
            *(journal.submit(room.first.device, send(each, f"{each.id[-6:]}{n}")) for each in rooms)
        )
    over.set()
    assert await fighter > 1
    assert sorted(s.seq for s in stored) == sorted([*range(3, 103)] * 2)
