"""The journal against a simple model in memory, and two processes against each other.

The model knows nothing of batches, locks or SQL: it takes one operation after the other. Whatever the
journal makes of many at once must be what the model makes of them in the order put.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from messaging.journal.journal import Journal
from messaging.protocol.errors import Refused
from messaging.protocol.frames import Delete, Edit, Send
from messaging.protocol.server.actions import Stored, Write
from tests import scene
from tests.peer import Peer
from tests.scene import Psql, Room, Seat

pytestmark = pytest.mark.django_db

# Who: 0 and 1 are devices of one user, 2 of another. Keys and targets are few, so that they meet again.
WHO, KEY, TARGET, BODY = st.integers(0, 2), st.integers(0, 5), st.integers(0, 4), st.integers(0, 2)
OPERATION = st.one_of(
    st.tuples(st.just("send"), WHO, KEY, BODY),
    st.tuples(st.just("edit"), WHO, KEY, TARGET, BODY, st.integers(0, 1)),
    st.tuples(st.just("delete"), WHO, KEY, TARGET, st.integers(0, 1)),
)
FOREIGN = st.one_of(
    st.tuples(st.just("insert"), BODY),
    st.tuples(st.just("update"), TARGET, BODY),
    st.tuples(st.just("remove"), TARGET),
    st.tuples(st.just("join"), st.integers(0, 1)),
    st.tuples(st.just("leave"), st.integers(0, 1)),
)
STEPS = st.lists(st.one_of(st.lists(OPERATION, min_size=1, max_size=12), FOREIGN), max_size=8)


@dataclass
class Row:
    """A message as the model knows it."""

    position: int
    seq: int
    body: str
    author: str | None
    version: int = 1
    change: tuple[str, str] | None = None
    deleted: bool = False
    fixed: bool = False


# A refusal's code, the row that was made or changed, or of a repeated send its place: the newest
# number and version in that answer may be those from before other operations of the same moment.
Outcome: TypeAlias = str | Row | tuple[int]


@dataclass
class Model:
    """One conversation."""

    members: set[str]
    rows: list[Row] = field(default_factory=list)
    keys: dict[tuple[str, str], tuple[str, Row]] = field(default_factory=dict)
    last: int = 0

    def next(self) -> int:
        self.last += 1
        return self.last

    def add(self, body: str, author: str | None, *, fixed: bool = False) -> Row:
        number = self.next()
        self.rows.append(Row(number, number, body, author, fixed=fixed))
        return self.rows[-1]

    def send(self, seat: Seat, key: str, body: str) -> Outcome:
        known = self.keys.get((seat.device, key))
        if known is not None:
            return (known[1].position,) if known[0] == body else "client_id_reused"
        if seat.user not in self.members:
            return "no_such_conversation"
        row = self.add(body, seat.user)
        self.keys[seat.device, key] = (body, row)
        return row

    def change(self, seat: Seat, key: str, row: Row, base: int, body: str | None) -> Outcome:
        if row.change == (seat.device, key):
            return row
        if seat.user not in self.members:
            return "no_such_message"
        if row.fixed or row.author != seat.user:
            return "forbidden"
        if row.deleted or row.version != base:
            return "conflict"
        self.apply(row, body, (seat.device, key))
        return row

    def apply(self, row: Row, body: str | None, change: tuple[str, str] | None = None) -> None:
        row.seq, row.version, row.change = self.next(), row.version + 1, change
        row.body, row.deleted = body or "", body is None


class World:
    """The model and the database side by side."""

    def __init__(self, sql: Psql) -> None:
        ann, bob = scene.new_seat(sql), scene.new_seat(sql)
        self.sql = sql
        self.seats = (ann, scene.new_seat(sql, ann.user), bob)
        self.room: Room = scene.new_room(sql, *self.seats)
        self.users = (ann.user, bob.user)
        self.model = Model(set(self.users))
        for _ in self.users:
            self.model.add("", None, fixed=True)

    def ids(self) -> list[str]:
        """The messages' ids by position."""
        rows = self.sql.execute(
            "SELECT id::text FROM messaging_message WHERE conversation_id = %s ORDER BY position",
            [self.room.id],
        )
        return [row[0] for row in rows]

    def foreign(self, step: tuple[Any, ...]) -> None:
        """A write with plain SQL."""
        verb, what = step[0], step[1]
        if verb == "insert":
            scene.insert(self.sql, self.room.id, f"b{what}")
            self.model.add(f"b{what}", None)
        elif verb in ("join", "leave"):
            self._membership(verb, self.users[what])
        else:
            self._foreign_change(verb, what, step)

    def _membership(self, verb: str, user: str) -> None:
        if (verb == "join") is (user in self.model.members):
            return
        if verb == "join":
            scene.join(self.sql, self.room.id, user)
            self.model.members.add(user)
        else:
            scene.leave(self.sql, self.room.id, user)
            self.model.members.discard(user)
        self.model.add("", None, fixed=True)

    def _foreign_change(self, verb: str, target: int, step: tuple[Any, ...]) -> None:
        index = target % len(self.model.rows)
        row, message = self.model.rows[index], self.ids()[index]
        if row.fixed or row.deleted:
            return
        if verb == "remove":
            self.sql.execute("DELETE FROM messaging_message WHERE id = %s", [message])
            self.model.apply(row, None)
        elif row.body != f"b{step[2]}":
            self.sql.execute(
                "UPDATE messaging_message SET body = %s WHERE id = %s", [f"b{step[2]}", message]
            )
            self.model.apply(row, f"b{step[2]}")

    async def together(self, journal: Journal, steps: list[tuple[Any, ...]]) -> None:
        """Operations that are put in one turn; each answer is what the model says."""
        ids, versions = self.ids(), [row.version for row in self.model.rows]
        answers: dict[int, Stored | Refused] = {}
        expected: list[tuple[str, str | tuple[int, ...]]] = []
        for n, step in enumerate(steps):
            seat = self.seats[step[1]]
            frame, outcome = self._operation(step, ids, versions)
            expected.append((str(step), _told(outcome)))
            journal.put(seat.device, frame, partial(answers.__setitem__, n))
        await scene.eventually(lambda: len(answers) == len(steps))
        for n, (said, told) in enumerate(expected):
            assert _seen(answers[n], told) == told, said

    def _operation(
        self, step: tuple[Any, ...], ids: list[str], versions: list[int]
    ) -> tuple[Write, Outcome]:
        verb, seat, key = step[0], self.seats[step[1]], f"k{step[2]}"
        if verb == "send":
            body = f"b{step[3]}"
            frame = Send(conversation=self.room.id, client_id=key, body=body)
            return frame, self.model.send(seat, key, body)
        index = step[3] % len(ids)
        row, base = self.model.rows[index], max(1, versions[index] - step[-1])
        if verb == "delete":
            gone = Delete(message=ids[index], base_version=base, client_id=key)
            return gone, self.model.change(seat, key, row, base, None)
        body = f"b{step[4]}"
        edit = Edit(message=ids[index], base_version=base, client_id=key, body=body)
        return edit, self.model.change(seat, key, row, base, body)

    def stored(self) -> list[tuple[Any, ...]]:
        return self.sql.execute(
            "SELECT position, seq, version, CASE kind WHEN 'system' THEN '' ELSE body END,"
            " deleted IS NOT NULL FROM messaging_message WHERE conversation_id = %s ORDER BY position",
            [self.room.id],
        ).fetchall()


def _told(outcome: Outcome) -> str | tuple[int, ...]:
    """What the model answers, as of now: the row may change later."""
    return (outcome.position, outcome.seq, outcome.version) if isinstance(outcome, Row) else outcome


def _seen(answer: Stored | Refused, told: str | tuple[int, ...]) -> str | tuple[int, ...]:
    """What the journal answered, as far as the model says something of it."""
    if isinstance(answer, Refused):
        return answer.refusal.code
    return (answer.position, answer.seq, answer.version)[: len(told)]


async def play(sql: Psql, steps: list[Any]) -> None:
    world, journal = World(sql), Journal()
    journal.start()
    try:
        for step in steps:
            if isinstance(step, list):
                await world.together(journal, step)
            else:
                world.foreign(step)
    finally:
        await journal.close()
    assert world.stored() == [
        (row.position, row.seq, row.version, "" if row.fixed else row.body, row.deleted)
        for row in world.model.rows
    ]
    assert scene.last_seq(sql, world.room.id) == world.model.last


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_the_journal_does_what_the_model_does(sql: Psql, steps: list[Any]) -> None:
    asyncio.run(play(sql, steps))


@pytest.mark.long
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_the_journal_does_what_the_model_does_for_long(sql: Psql, steps: list[Any]) -> None:
    asyncio.run(play(sql, steps))


@pytest.mark.slow
async def test_two_processes_and_psql_write_to_the_same_conversations_without_hole_or_loss(
    sql: Psql, peer: Peer, redis_url: str
) -> None:
    rooms = [scene.new_room(sql) for _ in range(3)]
    total, acked = 600, dict[tuple[str, str], Any]()
    with Peer(database_url=scene.database_url(), redis_url=redis_url) as second:
        asked: dict[Peer, dict[int, tuple[str, str]]] = {peer: {}, second: {}}
        for n in range(total):
            for process, place in ((peer, 0), (second, 1)):
                room = rooms[n % 3]
                key, device = f"m{n}", room.seats[place].device
                frame = {"type": "send", "conversation": room.id, "client_id": key, "body": key}
                asked[process][process.put(device, frame)] = (device, key)
            if n % 20 == 0:
                scene.insert(sql, rooms[n % 3].id, f"psql{n}")
        for process, numbers in asked.items():
            for _ in range(total):
                number, verdict, stored = await process.answer()
                assert verdict == "ok"
                acked[numbers[number]] = stored
    found = sql.execute(
        "SELECT device_id::text, client_id, id::text, conversation_id::text, seq, position"
        " FROM messaging_message WHERE conversation_id = ANY (%s::uuid[]) ORDER BY seq",
        [[room.id for room in rooms]],
    ).fetchall()
    assert {(d, k): m for d, k, m, *_ in found if d} == {who: s[0] for who, s in acked.items()}
    for room in rooms:
        taken = [row[4] for row in found if row[3] == room.id]
        assert taken == list(range(1, scene.last_seq(sql, room.id) + 1))
        for seat in room.seats:  # each session's order is kept
            keys = [int(row[1][1:]) for row in found if row[0] == seat.device]
            assert keys == sorted(keys)
            assert len(keys) == total // 3
