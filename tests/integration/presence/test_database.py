"""What is asked of a frozen database ends by our own clock."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import psycopg
import pytest

from messaging.hub.feed import FeedReader
from presence import database
from presence.line import Line
from tests import scene
from tests.frozen import backends, frozen
from tests.scene import Psql

pytestmark = pytest.mark.django_db

NAME = "lockstep test"
Connection = psycopg.AsyncConnection[Any]


@pytest.fixture
async def connection(
    shared_database: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Connection]:
    monkeypatch.setattr(database, "ANSWER_S", 0.1)
    async with await database.connect(NAME, statement_timeout=100) as made:
        yield made


async def test_a_frozen_server_is_given_up_in_bounded_time(
    connection: Connection, sql: Psql
) -> None:
    began = monotonic()
    with frozen(*backends(sql, NAME)):
        with (
            pytest.raises(psycopg.OperationalError, match=r"no answer within 0\.2 s"),
            database.deadline(connection, 100),
        ):
            await connection.execute("SELECT 1")
        assert 0.2 <= monotonic() - began < 1.0  # psycopg's own cancellation would take ten
    assert connection.closed


async def test_a_server_that_keeps_its_own_time_is_not_given_up(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.QueryCanceled), database.deadline(connection, 100):
        await connection.execute("SELECT pg_sleep(10)")
    assert not connection.closed


async def test_an_answer_in_time_ends_the_deadline(connection: Connection) -> None:
    with database.deadline(connection, 0):
        await connection.execute("SELECT 1")
    await connection.execute("SET statement_timeout = 0")
    await connection.execute("SELECT pg_sleep(0.2)")  # past it
    assert not connection.closed


WAITS = "application_name = 'lockstep test' AND wait_event_type = 'Lock'"


@pytest.mark.parametrize("kind", ["line", "feed"])
async def test_what_is_closed_under_a_question_ends_it_and_crashes_nobody(
    shared_database: None, sql: Psql, kind: str
) -> None:
    """psycopg frees what a question under way reads from: a drain ended now and then with a segmentation fault."""
    room = scene.new_room(sql).id
    line, feed = Line(NAME, timeout_ms=5_000), FeedReader(NAME)
    with scene.connect() as foreign:
        foreign.execute("BEGIN")
        foreign.execute("LOCK TABLE messaging_conversation")
        if kind == "line":
            asked = asyncio.ensure_future(line.ask("SELECT FROM messaging_conversation"))
        else:
            asked = asyncio.ensure_future(feed.pages([(room, 0)], limit=1))
        await scene.eventually(lambda: scene.count(sql, "pg_stat_activity", WAITS))
        await (line if kind == "line" else feed).close()
        assert asked.done()  # it was over before anything was freed: what follows is undefined
        with pytest.raises(psycopg.OperationalError):
            await asked
