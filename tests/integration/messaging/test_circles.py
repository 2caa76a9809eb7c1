"""Who may see whom, read from a real database: right, in few statements, and at a price that large conversations do not set."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from messaging.hub.circles import MEMBERS, SHARED, CircleReader, WatchList
from tests import scene
from tests.scene import Psql
from tests.unit.messaging.hub.links import Seen

pytestmark = pytest.mark.django_db

LARGE, SMALL = 2_000, 2_000  # members of a large conversation; conversations of ten
WATCHED = 200  # users in a list
ROWS = (
    20  # touched for one pair, in all steps of the plan together, whatever the conversations' sizes
)


@pytest.fixture
async def reader(shared_database: None) -> AsyncIterator[CircleReader]:
    made = CircleReader()
    yield made
    await made.close()


def new_users(sql: Psql, count: int) -> list[str]:
    return [scene.new_user(sql) for _ in range(count)]


def touched(sql: Psql, statement: str, parameters: list[object]) -> float:
    """How many rows the steps of the statement's plan return or drop."""
    sql.execute("SET enable_seqscan = off")  # as the reader's connection has it
    row = sql.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).fetchone()
    assert row is not None
    return rows_of(row[0][0]["Plan"])


def rows_of(step: dict[str, Any]) -> float:
    here = step["Actual Rows"] + sum(step[name] for name in step if name.startswith("Rows Removed"))
    return float(here * step["Actual Loops"]) + sum(map(rows_of, step.get("Plans", ())))


async def test_lists_of_many_sessions_share_statements_and_each_gets_its_own(
    reader: CircleReader, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ask = reader._line.ask

    async def counting(
        statement: str, parameters: tuple[object, ...] = ()
    ) -> list[tuple[object, ...]]:
        asked.append(statement)
        return await ask(statement, parameters)

    monkeypatch.setattr(reader._line, "ask", counting)
    ann, bob, cas, stranger = new_users(sql, 4)
    for pair in ((ann, bob), (bob, cas)):
        seats = [scene.new_seat(sql, user) for user in pair]
        scene.new_room(sql, *seats)
    lists: list[WatchList] = [
        (Seen(user), (user, *others))
        for user, others in (
            (ann, (bob, cas)),
            (ann, (cas,)),
            (bob, (ann, cas, stranger, ann)),
            (stranger, (ann,)),
        )
        for _ in range(50)
    ]
    found = await reader.watch_lists(lists)
    assert asked == [SHARED]
    seen = [{ann, bob}, {ann}, {bob, ann, cas}, set()]
    assert [set(found[link]) for link, _ in lists[::50]] == seen
    assert len(found) == len(lists)
    await reader.watch_lists([(Seen(ann), (ann, *new_users(sql, WATCHED)))] * 20)
    assert len(asked) == 3


@pytest.fixture
def crowd(sql: Psql) -> Iterator[str]:
    """Somebody in large conversations, among many small ones, for which the planner takes them."""
    viewer = scene.new_user(sql)
    sql.execute("SET session_replication_role = replica")  # rows alone, in bulk
    sql.execute(
        "INSERT INTO messaging_membership (conversation_id, user_id, joined_seq)"
        " SELECT lpad(c::text, 32, '0')::uuid, lpad((c * 10 + u)::text, 32, '0')::uuid, 0"
        " FROM generate_series(1, %s) c, generate_series(0, 9) u",
        [SMALL],
    )
    sql.execute(
        "INSERT INTO messaging_membership (conversation_id, user_id, joined_seq)"
        " SELECT lpad(c::text, 32, 'a')::uuid, lpad(u::text, 32, 'b')::uuid, 0"
        " FROM generate_series(1, 5) c, generate_series(1, %s) u"
        " UNION ALL SELECT lpad(c::text, 32, 'a')::uuid, %s, 0 FROM generate_series(1, 5) c",
        [LARGE, viewer],
    )
    yield viewer
    sql.execute(
        "DELETE FROM messaging_membership m WHERE NOT EXISTS"
        " (SELECT FROM messaging_conversation c WHERE c.id = m.conversation_id)"
    )


@pytest.mark.slow
def test_watching_costs_the_same_in_large_conversations(crowd: str, sql: Psql) -> None:
    pairs: list[object] = [[crowd] * WATCHED, new_users(sql, WATCHED)]
    rooms: list[object] = [["a" * 31 + "1"], 51, 50]
    for _ in ("before the planner knows the table", "after"):
        assert touched(sql, SHARED, pairs) < ROWS * WATCHED
        assert touched(sql, MEMBERS, rooms) < ROWS * 51
        sql.execute("ANALYZE messaging_membership")
