"""Leases: a process is alive as long as its own is renewed, and the living clear away the dead."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from presence import conf
from presence.roster import Roster
from tests import scene
from tests.scene import Psql, sessions

pytestmark = pytest.mark.django_db

LEASE = "SELECT extract(epoch FROM lease - now()) FROM presence_node WHERE id = %s"


async def test_the_lease_is_renewed(shared_database: None, sql: Psql, settings: Any) -> None:
    settings.LOCKSTEP_PRESENCE = {"beat_s": 0.05}
    made = Roster()
    await made.start()
    try:
        first = scene.one(sql, "SELECT lease FROM presence_node WHERE id = %s", made.node)
        await scene.eventually(
            lambda: (
                scene.one(sql, "SELECT lease FROM presence_node WHERE id = %s", made.node) > first
            )
        )
        assert 0 < float(scene.one(sql, LEASE, made.node)) <= conf.current().lease_s
    finally:
        await made.stop()
    assert not made.alive
    assert scene.count(sql, "presence_node", "id = %s", made.node) == 0


async def test_a_process_whose_node_was_removed_registers_again_with_its_sessions(
    shared_database: None, sql: Psql, settings: Any
) -> None:
    settings.LOCKSTEP_PRESENCE = {"beat_s": 0.05}
    seat = scene.new_seat(sql)
    made = Roster()
    await made.start()
    try:
        await made.arrive(seat.token)
        sql.execute("DELETE FROM presence_connection WHERE node_id = %s", [made.node])
        sql.execute("DELETE FROM presence_node WHERE id = %s", [made.node])
        await scene.eventually(lambda: scene.count(sql, "presence_node", "id = %s", made.node) == 1)
        assert sessions(sql, seat.device) == 1
    finally:
        await made.stop()


async def test_without_a_lease_a_process_is_not_alive_and_is_told_when_it_is_again(
    shared_database: None, sql: Psql, settings: Any
) -> None:
    settings.LOCKSTEP_PRESENCE = {"beat_s": 0.1, "lease_s": 0.3}
    renewed, alive = asyncio.Event(), asyncio.Event()
    made = Roster()

    async def on_renewed() -> None:
        assert not made.alive  # nothing is sent until it is known what was missed
        renewed.set()

    made.on_renewed, made.on_alive = on_renewed, alive.set
    await made.start()
    try:
        with scene.connect() as foreign:
            foreign.execute("BEGIN; LOCK TABLE presence_node IN ACCESS EXCLUSIVE MODE")
            await scene.eventually(lambda: not made.alive)
            foreign.execute("ROLLBACK")
        await renewed.wait()
        async with asyncio.timeout(5):
            await alive.wait()
        assert made.alive
    finally:
        await made.stop()


async def test_the_dead_are_cleared_away_by_the_living(
    shared_database: None, sql: Psql, settings: Any
) -> None:
    settings.LOCKSTEP_PRESENCE = {"beat_s": 0.05, "lease_s": 0.2}
    seat = scene.new_seat(sql)
    dead = scene.one(sql, "INSERT INTO presence_node (lease) VALUES (now()) RETURNING id")
    sql.execute(
        "INSERT INTO presence_connection (device_id, node_id) VALUES (%s, %s)", [seat.device, dead]
    )
    made = Roster()
    await made.start()
    try:
        await scene.eventually(lambda: not scene.count(sql, "presence_node", "id = %s", dead))
        assert sessions(sql, seat.device) == 0
    finally:
        await made.stop()


async def test_a_step_of_the_database_s_clock_kills_nobody(ticking: Roster, clock: Psql) -> None:
    """All leases are over at once: whoever beat first took all others for dead, with everybody who was there."""
    other = scene.one(clock, IN_TIME)
    ticking._reap_after = 0.0
    await step(clock, ticking, hours=1)
    assert scene.count(clock, "presence_node", "id = %s", other) == 1


async def test_a_step_right_before_the_reaping_kills_nobody(
    ticking: Roster, clock: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The beat before it saw none."""
    other = scene.one(clock, IN_TIME)
    await beats(clock, ticking)
    compare = ticking._compare

    def then_step(now: float) -> None:
        compare(now)
        set_clock(clock, hours=1)

    monkeypatch.setattr(ticking, "_compare", then_step)
    ticking._reap_after = 0.0
    await beats(clock, ticking)
    assert scene.count(clock, "presence_node", "id = %s", other) == 1


async def test_who_died_before_the_database_s_clock_went_back_is_cleared_away(
    ticking: Roster, clock: Psql
) -> None:
    """The lease ended in an hour, and they were shown for as long."""
    dead = scene.one(clock, IN_TIME)
    await step(clock, ticking, hours=-1)
    ticking._reap_after = 0.0  # a lease later
    await scene.eventually(lambda: not scene.count(clock, "presence_node", "id = %s", dead))
    assert ticking.alive


IN_TIME = "INSERT INTO presence_node (lease) VALUES (now() + interval '6 s') RETURNING id"


@pytest.fixture
def clock(shared_database: None) -> Iterator[Psql]:
    """A session of its own, to set the clock of those who look for `now()` in a schema before the catalogue's."""
    with scene.connect() as hand:
        hand.execute(
            "CREATE SCHEMA clock; CREATE TABLE clock.step AS SELECT interval '0' AS step;"
            "CREATE FUNCTION clock.now() RETURNS timestamptz STABLE LANGUAGE sql"
            " AS 'SELECT pg_catalog.now() + step FROM clock.step'"
        )
        yield hand
        hand.execute("DROP SCHEMA clock CASCADE")


@pytest.fixture
async def ticking(clock: Psql, settings: Any) -> AsyncIterator[Roster]:
    """A process that beats by that clock."""
    settings.LOCKSTEP_PRESENCE = {"beat_s": 0.02}
    made = Roster()
    made._line._session["search_path"] = "clock,pg_catalog,public"
    await made.start()
    yield made
    await made.stop()


def set_clock(clock: Psql, *, hours: int) -> None:
    clock.execute("UPDATE clock.step SET step = make_interval(hours => %s)", [hours])


async def beats(clock: Psql, beating: Roster) -> None:
    """Wait until the process has beaten twice: then it knows the clock."""
    lease = "SELECT lease FROM presence_node WHERE id = %s"
    for _ in range(2):
        before = scene.one(clock, lease, beating.node)
        await scene.eventually(
            lambda before=before: scene.one(clock, lease, beating.node) != before
        )


async def step(clock: Psql, beating: Roster, *, hours: int) -> None:
    """Set the clock, and wait until the process has beaten twice since."""
    await beats(clock, beating)
    set_clock(clock, hours=hours)
    await beats(clock, beating)


@pytest.mark.slow
async def test_a_session_that_could_not_be_signed_off_is_swept_away(
    shared_database: None, sql: Psql, settings: Any
) -> None:
    """The node lives on, so no lease would clear it: a revocation of the device would wait for ever."""
    settings.LOCKSTEP_PRESENCE = {"beat_s": 0.1}
    seat, stays = scene.new_seat(sql), scene.new_seat(sql)
    made = Roster()
    await made.start()
    try:
        arrival, other = await made.arrive(seat.token), await made.arrive(stays.token)
        assert arrival
        assert other
        with scene.connect() as foreign:
            foreign.execute("BEGIN; LOCK TABLE presence_connection IN ACCESS EXCLUSIVE MODE")
            await made.leave(arrival.session)
            foreign.execute("ROLLBACK")
        await scene.eventually(lambda: sessions(sql, seat.device) == 0)
        assert sessions(sql, stays.device) == 1
    finally:
        await made.stop()
