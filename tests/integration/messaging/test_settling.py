"""How writes come to their answers: announced first, one bad row alone, the end, and connections that are lost."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psycopg
import pytest
from django.db.models.signals import post_save

from messaging import signals
from messaging.engine import Engine
from messaging.journal import journal as journals
from messaging.journal import turns
from messaging.journal.batching import BATCH_ROWS
from messaging.journal.journal import Journal
from messaging.journal.turns import FEW_BATCHES
from messaging.models import Message
from messaging.protocol.errors import Refusal, Refused
from messaging.protocol.frames import Delete, Edit
from messaging.protocol.server.actions import Stored, Write
from messaging.protocol.server.batch import Batch
from tests import scene
from tests.integration.messaging.writing import (
    code,
    refused_by_the_database,
    send,
    slow_lane_waits,
    told,
)
from tests.scene import Psql, Room

pytestmark = pytest.mark.django_db

KILL = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = 'lockstep journal'
"""


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
    monkeypatch.setattr(journal.breaker, "patience_s", 0.0)  # told at the first error
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


async def test_who_has_little_to_write_waits_for_nobody_who_has_much(
    journal: Journal, room: Room
) -> None:
    """First in, first out, each of the others came before it."""
    few, order = FEW_BATCHES * BATCH_ROWS, list[str]()
    for n in range(2 * few):
        frame = send(room, f"m{n}")
        journal.put(room.first.device, frame, lambda _: order.append("much"))
    await scene.eventually(lambda: len(order) > 0)
    journal.put(room.second.device, send(room, "one"), lambda _: order.append("little"))
    before = len(order)
    await scene.eventually(lambda: "little" in order)
    assert order.index("little") - before <= few


async def test_a_full_journal_still_takes_a_write_of_who_has_none_there(
    journal: Journal, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "QUEUE_ROWS", 90)
    monkeypatch.setattr(turns, "FEW_BATCHES", 0)
    settled: list[Stored | Refused] = []
    for n in range(90):
        journal.put(room.first.device, send(room, f"m{n}"), settled.append)
    refused = [o.refusal for o in settled if isinstance(o, Refused)]
    assert refused == [Refusal.OVERLOADED] * 80  # it had an eighth of what was left: 10 of 80
    assert (await journal.submit(room.second.device, send(room, "one"))).seq <= 13


async def test_what_waits_is_counted_in_bytes_of_memory_and_not_in_characters(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One emoji makes four bytes of each character."""
    monkeypatch.setattr(journals, "QUEUE_BYTES", 1_000_000)
    waits, refused = Journal(), list[Stored | Refused]()  # not started: nothing is written
    for n in range(100):
        waits.put(
            room.first.device, send(room, f"m{n}", "\N{GRINNING FACE}" * 16_000), refused.append
        )
    assert waits.queued == 16
    assert len(refused) == 84


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


# Lost connections


@pytest.mark.slow
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
    # Else the next test meets the last kill.
    await journal.submit(room.first.device, send(room, "after"))


def lose_the_answer(journal: Journal, meanwhile: Callable[[], object]) -> None:
    """The next batch is committed and its answer is lost; then this happens before the next try."""
    append = journal._writer.append

    async def losing_the_answer(entries: Any, **how: Any) -> Any:
        journal._writer.append = append  # type: ignore[method-assign]
        await append(entries, **how)
        meanwhile()
        raise psycopg.OperationalError("the answer was lost")

    journal._writer.append = losing_the_answer  # type: ignore[method-assign]


def lock(foreign: Psql, device: str) -> None:
    foreign.execute("BEGIN")
    foreign.execute("SELECT FROM presence_device WHERE id = %s FOR UPDATE", [device])


async def test_what_a_lost_answer_committed_is_announced_at_once_even_from_the_slow_lane(
    journal: Journal, room: Room, sql: Psql
) -> None:
    announced: list[int] = []

    def receive(batches: list[Batch], **_: Any) -> None:
        announced.extend(message.seq for batch in batches for message in batch.messages)

    with scene.connect() as foreign, told(receive):
        lose_the_answer(journal, lambda: lock(foreign, room.first.device))
        asked = [journal.submit(room.first.device, send(room, f"m{n}")) for n in range(3)]
        answers = asyncio.gather(*asked)
        await slow_lane_waits(sql)
        foreign.execute("ROLLBACK")
        stored = await answers
    assert [(s.seq, s.repeated) for s in stored] == [(3, True), (4, True), (5, True)]
    assert announced == [3, 4, 5]


async def test_what_may_have_been_committed_is_never_refused_as_if_it_were_not(
    journal: Journal, room: Room, sql: Psql
) -> None:
    """Its answer was lost, and the look whether it is there meets a lock: `busy` would promise that it is not."""
    journal._slow._writer._lock_timeout_ms = 50
    with scene.connect() as foreign:
        lose_the_answer(journal, lambda: lock(foreign, room.first.device))
        assert await code(journal, room.first.device, send(room, "m")) == "database_unavailable"
    assert not Refusal.DATABASE_UNAVAILABLE.definite
    assert scene.bodies(sql, room.id) == ["m"]


@pytest.mark.parametrize("change", ["send", "edit", "delete"])
@pytest.mark.parametrize("fate", ["revoked", "removed"])
async def test_what_was_committed_is_not_refused_because_its_author_was_revoked_or_removed_meanwhile(
    journal: Journal, room: Room, sql: Psql, fate: str, change: str
) -> None:
    """The answer was lost with the connection; the next try finds an author who may not write any more."""
    author = room.first
    old = (await journal.submit(author.device, send(room, "old"))).message
    frames: dict[str, Write] = {
        "send": send(room, "new"),
        "edit": Edit(message=old, base_version=1, client_id="c", body="new"),
        "delete": Delete(message=old, base_version=1, client_id="c"),
    }

    def meanwhile() -> None:
        if fate == "revoked":
            scene.revoke(sql, author.device)
        else:
            scene.leave(sql, room.id, author.user)

    lose_the_answer(journal, meanwhile)
    if fate == "revoked":
        assert await code(journal, author.device, frames[change]) == "database_unavailable"
    else:
        stored = await journal.submit(author.device, frames[change])
        assert (stored.seq, stored.repeated) == (4, True)
        again = await journal.submit(
            author.device, frames[change]
        )  # by a client that asks once more
        assert (again.seq, again.repeated) == (4, True)


async def test_the_engine_commits_through_the_same_journal(engine: Engine, room: Room) -> None:
    assert (await engine.journal.submit(room.first.device, send(room, "m1"))).seq == 3


def kill(sql: Psql) -> int:
    row = sql.execute(KILL).fetchone()
    return int(row[0]) if row else 0
