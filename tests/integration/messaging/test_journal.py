"""The journal against a real database: numbers, keys, rules, locks, faults. The model test is beside it."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import psycopg
import pytest
from django.db.models.signals import post_save
from psycopg.errors import LockNotAvailable

from messaging import signals
from messaging.engine import Engine
from messaging.journal import journal as journals
from messaging.journal import settling
from messaging.journal.journal import Journal
from messaging.models import Message
from messaging.protocol.errors import Refusal, Refused
from messaging.protocol.frames import Delete, Edit, Send
from messaging.protocol.server.actions import Stored, Write
from messaging.protocol.server.batch import Batch
from tests import scene
from tests.scene import Psql, Room

pytestmark = pytest.mark.django_db

LOCK = "SELECT FROM messaging_conversation WHERE id = %s FOR UPDATE"
KILL = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = 'lockstep journal'
"""


@pytest.fixture
async def journal(shared_database: None) -> AsyncIterator[Journal]:
    """A journal alone: no hub, no lease."""
    made = Journal()
    made.start()
    yield made
    await made.close()


@pytest.fixture
def room(sql: Psql) -> Room:
    """Two members with a device each; their joining took the numbers 1 and 2."""
    return scene.new_room(sql)


def send(room: Room, key: str, body: str = "", **more: Any) -> Send:
    return Send(conversation=room.id, client_id=key, body=body or key, **more)


@contextlib.contextmanager
def told(receiver: Any, signal: Any = signals.messages_committed, **to: Any) -> Iterator[None]:
    """Connect a receiver for as long as the block lasts."""
    signal.connect(receiver, weak=False, **to)
    try:
        yield
    finally:
        signal.disconnect(receiver, **to)


async def refusal(journal: Journal, device: str, frame: Write) -> Refused:
    with pytest.raises(Refused) as caught:
        await journal.submit(device, frame)
    return caught.value


async def code(journal: Journal, device: str, frame: Write) -> str:
    return (await refusal(journal, device, frame)).refusal.code


# Numbers and keys


async def test_messages_are_numbered_in_the_order_put(
    journal: Journal, room: Room, sql: Psql
) -> None:
    asked = [journal.submit(room.first.device, send(room, f"m{n}")) for n in range(700)]
    stored = await asyncio.gather(*asked)

    assert [s.seq for s in stored] == list(range(3, 703))  # more than one batch takes
    assert all(s.position == s.seq and s.version == 1 and not s.repeated for s in stored)
    assert scene.bodies(sql, room.id) == [f"m{n}" for n in range(700)]
    assert scene.last_seq(sql, room.id) == 702


async def test_a_repeat_gets_the_first_result_for_ever(
    journal: Journal, room: Room, sql: Psql
) -> None:
    device = room.first.device
    first = await journal.submit(device, send(room, "m1"))
    again = await journal.submit(device, send(room, "m1"))
    assert again == first._replace(repeated=True)

    await journal.submit(
        device, Edit(message=first.message, base_version=1, client_id="e", body="x")
    )
    edited = await journal.submit(device, send(room, "m1"))
    scene.leave(sql, room.id, room.first.user)
    left = await journal.submit(device, send(room, "m1"))
    for late in (edited, left):
        assert (late.message, late.position, late.created) == (
            first.message,
            first.position,
            first.created,
        )
    assert scene.count(sql, "messaging_message", "device_id = %s", device) == 1


async def test_repeats_that_arrive_together_are_stored_once(
    journal: Journal, room: Room, sql: Psql
) -> None:
    same = [journal.submit(room.first.device, send(room, "twin")) for _ in range(20)]
    stored = await asyncio.gather(*same)
    assert len({s.message for s in stored}) == 1
    assert [s.repeated for s in stored] == [False] + [True] * 19
    assert scene.bodies(sql, room.id) == ["twin"]


@pytest.mark.parametrize(
    "other",
    [{"body": "other"}, {"kind": "data", "body": "1"}, {"conversation": "elsewhere"}],
    ids=lambda o: next(iter(o)),
)
async def test_a_key_of_another_message_is_refused(
    journal: Journal, room: Room, sql: Psql, other: dict[str, Any]
) -> None:
    await journal.submit(room.first.device, send(room, "m1", "1"))
    if "conversation" in other:
        other = {"conversation": scene.new_room(sql, *room.seats).id}
    frame = Send(**{"conversation": room.id, "client_id": "m1", "body": "1", **other})
    assert await code(journal, room.first.device, frame) == "client_id_reused"
    assert await code(journal, room.second.device, send(room, "m2", reply_to=room.id)) == (
        "no_such_message"
    )


async def test_two_devices_may_use_the_same_key(journal: Journal, room: Room) -> None:
    one = await journal.submit(room.first.device, send(room, "same"))
    two = await journal.submit(room.second.device, send(room, "same"))
    assert one.message != two.message


async def test_a_reply_must_answer_a_message_of_its_own_conversation(
    journal: Journal, room: Room, sql: Psql
) -> None:
    other = scene.new_room(sql, *room.seats)
    there = await journal.submit(room.first.device, send(other, "there"))
    here = await journal.submit(room.first.device, send(room, "here"))
    frame = send(room, "r1", reply_to=there.message)
    assert await code(journal, room.first.device, frame) == "no_such_message"
    await journal.submit(room.first.device, send(room, "r2", reply_to=here.message))


# Edits and deletes


async def test_an_edit_takes_the_next_number_and_keeps_its_place(
    journal: Journal, room: Room
) -> None:
    seen: list[Batch] = []
    device = room.first.device
    first = await journal.submit(device, send(room, "m1"))
    await journal.submit(device, send(room, "m2"))
    with told(lambda batches, **_: seen.extend(batches)):
        edit = Edit(message=first.message, base_version=1, client_id="e1", body="better")
        edited = await journal.submit(device, edit)
        gone = await journal.submit(
            device, Delete(message=first.message, base_version=2, client_id="d1")
        )
    assert (edited.seq, edited.position, edited.version) == (5, 3, 2)
    assert (gone.seq, gone.position, gone.version) == (6, 3, 3)
    shown = [batch.messages[0] for batch in seen]
    assert [(m.seq, m.position, m.body) for m in shown] == [(5, 3, "better"), (6, 3, "")]
    assert shown[0].edited is not None
    assert shown[1].deleted is not None
    assert shown[1].user == room.first.user


async def test_the_newest_change_may_be_repeated_and_anything_else_stale_conflicts(
    journal: Journal, room: Room
) -> None:
    device = room.first.device
    first = await journal.submit(device, send(room, "m1"))
    one = Edit(message=first.message, base_version=1, client_id="e1", body="one")
    two = Edit(message=first.message, base_version=2, client_id="e2", body="two")
    once = await journal.submit(device, one)
    assert (await journal.submit(device, one)) == once._replace(repeated=True)
    await journal.submit(device, two)

    stale = await refusal(journal, device, one)
    assert stale.refusal is Refusal.CONFLICT
    assert stale.current is not None
    assert (stale.current.body, stale.current.version, stale.current.client_id) == ("two", 3, "m1")
    assert (await journal.submit(device, two)).repeated


async def test_edits_of_one_moment_change_a_message_one_after_the_other(
    journal: Journal, room: Room
) -> None:
    first = await journal.submit(room.first.device, send(room, "m1"))
    asked = [
        journal.submit(
            room.first.device,
            Edit(message=first.message, base_version=1, client_id=f"e{n}", body=str(n)),
        )
        for n in range(5)
    ]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(outcomes[0], Stored)
    for outcome in outcomes[1:]:
        assert isinstance(outcome, Refused)
        assert outcome.refusal is Refusal.CONFLICT
        assert outcome.current is not None
        assert outcome.current.body == "0"


async def test_a_deleted_message_stays_deleted(journal: Journal, room: Room) -> None:
    device = room.first.device
    first = await journal.submit(device, send(room, "m1"))
    gone = Delete(message=first.message, base_version=1, client_id="d1")
    await journal.submit(device, gone)
    assert (await journal.submit(device, gone)).repeated
    revival = Edit(message=first.message, base_version=2, client_id="e1", body="back")
    refused = await refusal(journal, device, revival)
    assert refused.refusal is Refusal.CONFLICT
    assert refused.current is not None
    assert (refused.current.body, refused.current.version) == ("", 2)


async def test_only_the_author_edits_and_only_an_admin_deletes_for_others(
    journal: Journal, room: Room, sql: Psql
) -> None:
    other, admin = room.second, scene.new_seat(sql)
    scene.join(sql, room.id, admin.user, role="admin")
    laptop = scene.new_seat(sql, room.first.user)
    first = (await journal.submit(room.first.device, send(room, "m1"))).message
    edit = Edit(message=first, base_version=1, client_id="e", body="mine now")
    delete = Delete(message=first, base_version=2, client_id="d")

    assert await code(journal, other.device, edit) == "forbidden"
    assert await code(journal, admin.device, edit) == "forbidden"
    assert await code(journal, other.device, delete) == "forbidden"
    assert (await journal.submit(laptop.device, edit)).version == 2
    assert (await journal.submit(admin.device, delete)).version == 3


async def test_system_messages_never_change(journal: Journal, room: Room, sql: Psql) -> None:
    sql.execute(
        "UPDATE messaging_membership SET role = 'admin' WHERE user_id = %s", [room.first.user]
    )
    row = sql.execute(
        "SELECT id::text FROM messaging_message WHERE conversation_id = %s AND seq = 1", [room.id]
    ).fetchone()
    assert row
    edit = Edit(message=row[0], base_version=1, client_id="e", body="{}")
    assert await code(journal, room.first.device, edit) == "forbidden"
    delete = Delete(message=row[0], base_version=1, client_id="d")
    assert await code(journal, room.first.device, delete) == "forbidden"


# Who may write: judged under the lock


async def test_strangers_and_the_revoked_write_nothing(
    journal: Journal, room: Room, sql: Psql
) -> None:
    stranger = scene.new_seat(sql)
    first = (await journal.submit(room.first.device, send(room, "m1"))).message
    edit = Edit(message=first, base_version=1, client_id="e", body="x")
    nowhere = "00000000-0000-4000-8000-000000000000"

    assert await code(journal, stranger.device, send(room, "m1")) == "no_such_conversation"
    assert await code(journal, stranger.device, edit) == "no_such_message"
    lost = Send(conversation=nowhere, client_id="m2", body="x")
    assert await code(journal, room.first.device, lost) == "no_such_conversation"
    assert await code(journal, nowhere, send(room, "m1")) == "revoked"
    active = "UPDATE presence_user SET is_active = %s WHERE id = %s"
    sql.execute(active, [False, room.first.user])  # the sessions may live for a moment longer
    assert await code(journal, room.first.device, send(room, "m2")) == "revoked"
    assert await code(journal, room.first.device, edit) == "revoked"
    sql.execute(active, [True, room.first.user])
    scene.revoke(sql, room.first.device)
    assert await code(journal, room.first.device, send(room, "m1")) == "revoked"
    assert await code(journal, room.first.device, edit) == "revoked"
    assert scene.bodies(sql, room.id) == ["m1"]


async def test_a_member_removed_while_the_write_waits_for_the_lock_is_refused(
    journal: Journal, room: Room, sql: Psql
) -> None:
    with scene.connect() as other:
        other.execute("BEGIN")
        scene.leave(other, room.id, room.first.user)  # holds the conversation's lock
        asked = asyncio.ensure_future(code(journal, room.first.device, send(room, "m1")))
        await waits_for_lock(sql)
        other.execute("COMMIT")
        assert await asked == "no_such_conversation"
    assert scene.bodies(sql, room.id) == []


async def waits_for_lock(sql: Psql) -> None:
    """Until one of the journal's lanes waits for someone's lock."""
    waiting = "application_name LIKE 'lockstep %%' AND wait_event_type = 'Lock'"
    await scene.eventually(lambda: scene.count(sql, "pg_stat_activity", waiting))


# Announcements


async def test_the_commit_comes_before_the_signal_and_the_signal_before_the_answer(
    journal: Journal, room: Room, sql: Psql
) -> None:
    order: list[str] = []

    def receive(batches: list[Batch], **_: Any) -> None:
        assert scene.bodies(sql, room.id) == ["m1"]  # another connection sees it
        order.append("announced")

    with told(receive):
        journal.put(room.first.device, send(room, "m1"), lambda _: order.append("answered"))
        await scene.eventually(lambda: "answered" in order)
    assert order == ["announced", "answered"]


async def test_a_receiver_that_raises_delays_nobody(
    journal: Journal, room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Batch] = []

    def broken(**_: Any) -> None:
        raise RuntimeError("an integrator's mistake")

    with told(broken), told(lambda batches, **_: heard.extend(batches)):
        assert (await journal.submit(room.first.device, send(room, "m1"))).seq == 3
    assert len(heard) == 1
    assert "an integrator's mistake" in caplog.text


async def test_an_async_receiver_is_a_mistake_that_stops_nobody(
    journal: Journal, room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    async def wrong(**_: Any) -> None:
        raise AssertionError("it can't be called here")

    with told(wrong), told(wrong, signals.receipts_committed):
        assert (await journal.submit(room.first.device, send(room, "m1"))).seq == 3
        assert (await journal.submit(room.first.device, send(room, "m2"))).seq == 4
    assert "async" in caplog.text


async def test_post_save_is_sent_to_whoever_listens(journal: Journal, room: Room) -> None:
    saved: list[tuple[str, int, bool]] = []

    def receive(instance: Message, created: bool, **_: Any) -> None:
        saved.append((instance.body, instance.seq, created))

    await journal.submit(room.first.device, send(room, "unheard"))
    with told(receive, post_save, sender=Message):
        stored = await journal.submit(room.first.device, send(room, "heard"))
        edit = Edit(message=stored.message, base_version=1, client_id="e", body="edited")
        await journal.submit(room.first.device, edit)
    assert saved == [("heard", 4, True), ("edited", 5, False)]


async def test_models_are_built_only_when_somebody_listens_to_post_save(
    journal: Journal, room: Room
) -> None:
    built: list[object] = []
    from django.db.models.signals import post_init

    with told(lambda instance, **_: built.append(instance), post_init, sender=Message):
        await journal.submit(room.first.device, send(room, "m1"))
    assert built == []


# One bad row, too many rows, the end


@contextlib.contextmanager
def refused_by_the_database(sql: Psql, body: str) -> Iterator[None]:
    """The database itself refuses messages with this body."""
    sql.execute(
        f"ALTER TABLE messaging_message ADD CONSTRAINT poison CHECK (body <> '{body}') NOT VALID"
    )
    try:
        yield
    finally:
        sql.execute("ALTER TABLE messaging_message DROP CONSTRAINT poison")


async def test_a_poison_row_fails_alone(journal: Journal, room: Room, sql: Psql) -> None:
    with refused_by_the_database(sql, "poison"):
        asked = [
            journal.submit(room.first.device, send(room, f"m{n}", "poison" if n == 37 else ""))
            for n in range(100)
        ]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
    refused = outcomes.pop(37)
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.STORAGE_REFUSED
    assert "poison" in str(refused)
    assert [s.seq for s in outcomes if isinstance(s, Stored)] == list(range(3, 102))
    assert scene.bodies(sql, room.id) == [f"m{n}" for n in range(100) if n != 37]


async def test_nothing_is_committed_past_a_refusal_that_may_be_repeated(
    journal: Journal, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch is taken apart to find its poison row, and the database goes away at any moment of it."""
    monkeypatch.setattr(settling, "OUTAGE_S", 0.0)  # told at the first error
    append, device = journal._writer.append, scene.new_seat(sql)
    told_in_the_middle = 0
    with refused_by_the_database(sql, "poison"):
        for poison, attempt in itertools.product(range(8), range(1, 7)):
            room = scene.new_room(sql, device)
            tries = itertools.count(1)

            async def away_once(
                entries: Any, *, tries: Iterator[int] = tries, attempt: int = attempt, **how: Any
            ) -> Any:
                if next(tries) == attempt:
                    raise psycopg.OperationalError("connection refused")
                return await append(entries, **how)

            journal._writer.append = away_once  # type: ignore[method-assign]
            settled: dict[int, Stored | Refused] = {}
            for n in range(8):
                frame = send(room, f"{room.id[-8:]}{n}", "poison" if n == poison else f"m{n}")
                journal.put(device.device, frame, partial(settled.__setitem__, n))
            await scene.eventually(lambda settled=settled: len(settled) == 8)  # type: ignore[misc]
            committed = [n for n, outcome in settled.items() if isinstance(outcome, Stored)]
            again = [n for n in range(8) if refused_for_now(settled[n])]
            assert again == list(range(min(again, default=8), 8)), (poison, attempt)
            assert all(n < min(again, default=8) for n in committed), (poison, attempt)
            assert scene.bodies(sql, room.id) == [f"m{n}" for n in sorted(committed)]
            told_in_the_middle += bool(again and committed)
    assert told_in_the_middle > 10


def refused_for_now(outcome: Stored | Refused) -> bool:
    return isinstance(outcome, Refused) and outcome.refusal.retry_after is not None


@pytest.mark.parametrize("body", ["nul \x00", "half \ud83d"], ids=["nul", "surrogate"])
async def test_text_that_cannot_be_stored_fails_alone(
    journal: Journal, room: Room, body: str
) -> None:
    asked = [
        journal.submit(room.first.device, send(room, f"m{n}", body if n == 1 else ""))
        for n in range(3)
    ]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(o) for o in outcomes] == [Stored, Refused, Stored]
    assert (await journal.submit(room.first.device, send(room, "after"))).seq == 5


async def test_above_its_bounds_the_journal_says_overloaded_and_keeps_the_rest(
    journal: Journal, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "QUEUE_BYTES", 4_000_000)  # of 33: eight batches, not sixty
    settled: list[Stored | Refused] = []
    large = 60_000
    sent = journals.QUEUE_BYTES // large + 10
    for n in range(sent):
        frame = send(room, f"m{n}", "x" * large)
        journal.put(room.first.device, frame, settled.append)
    refused = [o for o in settled if isinstance(o, Refused)]
    assert {r.refusal for r in refused} == {Refusal.OVERLOADED}
    assert len(refused) >= 5
    taken = sent - len(refused)
    await scene.eventually(lambda: len(settled) == taken + len(refused))
    assert len(scene.bodies(sql, room.id)) == taken
    assert (await journal.submit(room.first.device, send(room, "after"))).seq == taken + 3


async def test_a_drain_answers_what_is_queued_and_refuses_what_comes(
    journal: Journal, room: Room, sql: Psql
) -> None:
    settled: list[Stored | Refused] = []
    for n in range(1_200):
        journal.put(room.first.device, send(room, f"m{n}"), settled.append)
    await journal.drain()
    assert [o.seq for o in settled if isinstance(o, Stored)] == list(range(3, 1_203))
    assert len(scene.bodies(sql, room.id)) == 1_200
    assert await code(journal, room.first.device, send(room, "late")) == "shutting_down"


async def test_a_caller_that_is_cancelled_does_not_cancel_the_write(
    journal: Journal, room: Room, sql: Psql
) -> None:
    asked = asyncio.ensure_future(journal.submit(room.first.device, send(room, "m1")))
    await asyncio.sleep(0)  # it is queued
    asked.cancel()
    await scene.eventually(lambda: scene.bodies(sql, room.id) == ["m1"])


# Locks of others


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
    took, codes = await locked_for(seconds, journal, room, others)
    p50, p99, most = (took[int((len(took) - 1) * q)] * 1e3 for q in (0.5, 0.99, 1.0))
    print(
        f"\nlocked for {seconds} s: {len(took)} sends elsewhere, "
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {most:.1f} ms"
    )
    assert set(codes) == {"busy"}
    assert took[int((len(took) - 1) * quantile)] < 0.05
    asked = [journal.submit(room.first.device, send(room, f"here{n}")) for n in range(10)]
    assert [s.seq for s in await asyncio.gather(*asked)] == list(range(3, 13))
    assert scene.bodies(sql, room.id) == [f"here{n}" for n in range(10)]


@pytest.mark.slow
async def test_a_locked_conversation_is_busy_and_holds_up_nobody(
    journal: Journal, room: Room, sql: Psql
) -> None:
    """The lock is met once, which costs the others 50 ms: that is much of so short a time."""
    await holds_up_nobody(1.5, journal, room, sql, quantile=0.9)


@pytest.mark.slow
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


async def slow_lane_waits(sql: Psql) -> None:
    waiting = "application_name = 'lockstep slow lane' AND wait_event_type = 'Lock'"
    await scene.eventually(lambda: scene.count(sql, "pg_stat_activity", waiting))


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


def count_lock_timeouts(journal: Journal) -> list[object]:
    """Grows with each batch of the fast lane that waited for a lock in vain."""
    met: list[object] = []
    append = journal._writer.append

    async def counting(entries: Any, **how: Any) -> Any:
        try:
            return await append(entries, **how)
        except LockNotAvailable as error:
            met.append(error)
            raise

    journal._writer.append = counting  # type: ignore[method-assign]
    return met


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


# Lost connections


async def test_a_commit_of_unknown_outcome_is_neither_lost_nor_doubled(
    journal: Journal, room: Room, sql: Psql
) -> None:
    """The journal's connection is killed again and again in mid-batch."""
    announced: list[int] = []

    def receive(batches: list[Batch], **_: Any) -> None:
        for batch in batches:
            announced.extend(message.seq for message in batch.messages)

    kills = total = 0
    answers: dict[int, Stored | Refused] = {}
    with told(receive):
        while kills < 15:
            for n in range(total, total + 150):
                journal.put(room.first.device, send(room, f"m{n}"), partial(answers.__setitem__, n))
            total += 150
            while len(answers) <= total - 150:  # noqa: ASYNC110 - until the next batch is on its way
                await asyncio.sleep(0)
            kills += kill(sql)
        await scene.eventually(lambda: len(answers) == total)
    places = [stored.seq for stored in answers.values() if isinstance(stored, Stored)]
    assert places == list(range(3, total + 3))
    assert scene.bodies(sql, room.id) == [f"m{n}" for n in range(total)]
    assert sorted(announced) == list(range(3, total + 3))


async def test_what_a_lost_answer_committed_is_announced_at_once_even_from_the_slow_lane(
    journal: Journal, room: Room, sql: Psql
) -> None:
    announced: list[int] = []
    append = journal._writer.append
    with scene.connect() as foreign:

        async def losing_the_answer(entries: Any, **how: Any) -> Any:
            journal._writer.append = append  # type: ignore[method-assign]
            await append(entries, **how)
            foreign.execute("BEGIN")
            foreign.execute(
                "SELECT FROM presence_device WHERE id = %s FOR UPDATE", [room.first.device]
            )
            raise psycopg.OperationalError("the answer was lost")

        def receive(batches: list[Batch], **_: Any) -> None:
            announced.extend(message.seq for batch in batches for message in batch.messages)

        journal._writer.append = losing_the_answer  # type: ignore[method-assign]
        with told(receive):
            asked = [journal.submit(room.first.device, send(room, f"m{n}")) for n in range(3)]
            answers = asyncio.gather(*asked)
            await slow_lane_waits(sql)
            foreign.execute("ROLLBACK")
            stored = await answers
    assert [(s.seq, s.repeated) for s in stored] == [(3, True), (4, True), (5, True)]
    assert announced == [3, 4, 5]


def kill(sql: Psql) -> int:
    row = sql.execute(KILL).fetchone()
    return int(row[0]) if row else 0


async def test_the_engine_commits_through_the_same_journal(engine: Engine, room: Room) -> None:
    assert (await engine.journal.submit(room.first.device, send(room, "m1"))).seq == 3
