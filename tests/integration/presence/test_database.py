"""What is asked of a frozen database ends by our own clock."""

from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import psycopg
import pytest

from presence import database
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
