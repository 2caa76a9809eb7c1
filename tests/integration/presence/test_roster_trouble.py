"""The roster while rows are locked or the database is frozen: neither costs more than it must."""

import asyncio
from typing import Any

import psycopg
import pytest

from presence import database
from presence import roster as rosters
from presence.roster import Arrival, Roster
from tests import scene
from tests.frozen import backends, frozen
from tests.scene import Psql, sessions

pytestmark = pytest.mark.django_db


async def test_a_locked_device_holds_up_neither_the_lease_nor_the_others(
    shared_database: None, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rosters, "LOCK_TIMEOUT_MS", 100)
    locked, free = scene.new_seat(sql), scene.new_seat(sql)
    made = Roster()
    await made.start()
    try:
        with scene.connect() as foreign:
            foreign.execute("BEGIN")
            foreign.execute("UPDATE presence_device SET name = 'x' WHERE id = %s", [locked.device])
            refused, admitted = await asyncio.gather(
                made.arrive(locked.token), made.arrive(free.token), return_exceptions=True
            )
            foreign.execute("ROLLBACK")
        assert isinstance(refused, psycopg.Error)
        assert isinstance(admitted, Arrival)
        assert made.alive
        assert isinstance(await made.arrive(locked.token), Arrival)
    finally:
        await made.stop()


async def test_a_frozen_connection_costs_its_hello_and_not_the_lease(
    shared_database: None, sql: Psql, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """What was given up is still carried out when the server wakes up: a beat's sweep finds it."""
    monkeypatch.setattr(rosters, "STATEMENT_TIMEOUT_MS", 1_000)
    settings.LOCKSTEP_PRESENCE = {"beat_s": 0.3}
    monkeypatch.setattr(database, "ANSWER_S", -0.5)
    seat = scene.new_seat(sql)
    made = Roster()
    await made.start()
    try:
        with frozen(*backends(sql, "lockstep roster")):
            with pytest.raises(psycopg.OperationalError, match="no answer"):
                await made.arrive(seat.token)
            assert made.alive
            assert await made.arrive(seat.token)
        await scene.eventually(lambda: len(backends(sql, "lockstep roster")) == 1)
        await scene.eventually(lambda: sessions(sql, seat.device) == 1)
        assert made.alive
    finally:
        await made.stop()


async def test_a_frozen_connection_that_was_given_up_begins_no_session_however_late_it_wakes_up(
    shared_database: None, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No sweep looks for it then, and a revocation of the device would wait for ever."""
    monkeypatch.setattr(rosters, "STATEMENT_TIMEOUT_MS", 1_000)
    monkeypatch.setattr(database, "ANSWER_S", -0.5)
    monkeypatch.setattr(Roster, "_sweep_later", lambda _: None)
    seat, other = scene.new_seat(sql), scene.new_seat(sql)
    made = Roster()
    await made.start()
    try:
        assert await made.arrive(other.token)  # prepared: the next one is sent as a whole
        (woken,) = backends(sql, "lockstep roster")
        with frozen(woken):
            with pytest.raises(psycopg.OperationalError, match="no answer"):
                await made.arrive(seat.token)
            assert await made.arrive(other.token)
        await scene.eventually(lambda: woken not in backends(sql, "lockstep roster"))
        assert sessions(sql, seat.device) == 0
        assert sessions(sql, other.device) == 2
    finally:
        await made.stop()


@pytest.mark.slow
async def test_a_revocation_asked_of_a_frozen_database_is_refused_in_bounded_time(
    shared_database: None, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rosters, "REVOKE_TIMEOUT_MS", 1_000)
    monkeypatch.setattr(database, "ANSWER_S", 0.1)
    seat = scene.new_seat(sql)
    with scene.connect() as foreign:
        foreign.execute("BEGIN")
        foreign.execute("SELECT FROM presence_device WHERE id = %s FOR UPDATE", [seat.device])
        revoking = asyncio.ensure_future(rosters.revoke(seat.device))
        waits = "application_name = 'lockstep revoke' AND wait_event_type = 'Lock'"
        await scene.eventually(lambda: scene.count(sql, "pg_stat_activity", waits))
        with (
            frozen(*backends(sql, "lockstep revoke")),
            pytest.raises(psycopg.OperationalError, match="no answer"),
        ):
            await revoking
