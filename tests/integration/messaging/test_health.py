"""What `/readyz` says of a real engine, when a part of it is gone, silent or slow."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from messaging import engine as engines
from messaging import health as healths
from messaging.engine import Engine
from messaging.health import NO_ANSWER, Health
from messaging.protocol.frames import Send
from presence.line import Line
from tests import scene
from tests.frozen import backends, frozen
from tests.outage import without_valkey
from tests.plugin import GIVEN
from tests.scene import Psql, Room

pytestmark = pytest.mark.django_db


FRESH_S = 0.05


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is old sooner here."""
    monkeypatch.setattr(healths, "FRESH_S", FRESH_S)


@pytest.fixture
async def health(engine: Engine) -> AsyncIterator[Health]:
    """Of a process that is ready."""
    made = Health()
    await until(made, missing=set())
    yield made
    await made.close()


async def until(health: Health, *, missing: set[str], why: str = "") -> dict[str, str]:
    """Ask until exactly these parts are missing, for such a reason; returns the reasons."""
    async with asyncio.timeout(scene.PATIENCE_S):
        while True:
            found = await health.readiness()
            assert found.ready is not bool(found.missing)
            if set(found.missing) == missing and why in str(found.missing):
                return found.missing
            await asyncio.sleep(FRESH_S / 5)


async def test_a_process_begins_to_be_ready_by_being_asked(new_engine: None) -> None:
    """One that began without the database would wait for a hello that no load balancer sends there."""
    health = Health()
    assert engines.started() is None
    await until(health, missing=set())
    assert engines.started() is not None
    await health.close()


async def test_a_database_that_takes_nobody_is_missing(health: Health, sql: Psql) -> None:
    name = sql.info.dbname
    with psycopg.connect(**{**sql.info.get_parameters(), "dbname": "postgres"}, password=sql.info.password, autocommit=True) as other:  # fmt: skip
        other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lockstep health'"
            )
            await until(health, missing={"database"}, why="not currently accepting connections")
        finally:
            other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await until(health, missing=set())


async def test_a_database_that_takes_no_writes_is_missing(health: Health, sql: Psql) -> None:
    """A former primary still answers."""
    await health._line.ask("SET default_transaction_read_only = on")
    assert (await until(health, missing={"database"}))["database"] == "it takes no writes"
    await health._line.ask("SET default_transaction_read_only = off")
    await until(health, missing=set())


@pytest.mark.slow
async def test_a_frozen_database_is_missing_within_the_bound(health: Health, sql: Psql) -> None:
    with frozen(*backends(sql, "lockstep health")):
        reasons = await until(health, missing={"database"})
        asked = asyncio.get_running_loop().time()
        await health.readiness()
        assert asyncio.get_running_loop().time() - asked < 1.5
    assert reasons["database"] == NO_ANSWER
    await until(health, missing=set())


@pytest.mark.slow
async def test_a_journal_that_does_not_commit_is_missing_until_it_does(
    health: Health, engine: Engine, room: Room, sql: Psql
) -> None:
    """Its own connection hangs; the database answers everyone else."""
    frame = Send(conversation=room.id, client_id="m1", body="m1")
    await engine.journal.submit(room.first.device, frame)
    with frozen(*backends(sql, "lockstep journal")):
        writing = asyncio.create_task(
            engine.journal.submit(room.first.device, Send(conversation=room.id, client_id="m2", body="m2"))
        )  # fmt: skip
        reasons = await until(health, missing={"journal"})
        engine.gauges.read(late_s=0.0)
    assert "a commit has waited for" in reasons["journal"]
    await writing
    await until(health, missing=set())


@pytest.mark.slow
@pytest.mark.skipif(bool(GIVEN["REDIS_URL"]), reason="this Redis is not ours to kill")
async def test_a_bus_that_is_away_is_missing_and_named(
    health: Health, services_directory: Path
) -> None:
    with without_valkey(services_directory):
        await until(health, missing={"bus"})
    await until(health, missing=set())


async def test_a_process_that_leaves_or_drains_is_not_ready(
    health: Health, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as draining:
        draining.setattr(engine, "draining", True)
        assert (await health.readiness()).draining
    assert (await health.readiness()).ready
    health.leave()
    found = await health.readiness()
    assert (found.draining, found.missing, found.ready) == (True, {}, False)


async def test_however_many_ask_the_database_is_asked_once(
    health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ask = Line.ask

    async def counted(line: Line, statement: str, *given: Any) -> Any:
        if line is health._line:
            asked.append(statement)
        return await ask(line, statement, *given)

    monkeypatch.setattr(Line, "ask", counted)
    await asyncio.sleep(FRESH_S)  # the fixture's answer is not fresh any more
    found = await asyncio.gather(*(health.readiness() for _ in range(50)))
    monkeypatch.setattr(healths, "FRESH_S", 60)  # that of now is, however busy the machine
    found.append(await health.readiness())
    assert all(one.ready for one in found)
    assert len(asked) == 1
