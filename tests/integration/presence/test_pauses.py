"""Processes that stand still, die or come back: nobody's sessions are raised from the dead."""

import asyncio
from time import time
from typing import Any

import psycopg
import pytest

from presence import conf, lease, statements
from presence import roster as rosters
from presence.roster import Arrival, Roster
from tests import scene
from tests.scene import Psql, Seat, sessions

pytestmark = pytest.mark.django_db


STORED = "SELECT id::text FROM presence_connection WHERE node_id = %s"


class Clock:
    """A clock that jumps while the process stands still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._real, self.jumped = lease.elapsed, 0.0
        monkeypatch.setattr(lease, "elapsed", lambda: self._real() + self.jumped)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Clock:
    settings.LOCKSTEP_PRESENCE = {"beat_s": 0.05}
    return Clock(monkeypatch)


async def begin(roster: Roster, seat: Seat) -> Arrival:
    arrival = await roster.arrive(seat.token)
    assert arrival
    return arrival


def reap(sql: Psql) -> set[str]:
    """Bury the dead as a process does whose last beat was just now; the users of their devices."""
    gone = sql.execute(statements.REAP.encode(), [conf.current().lease_s, time()])
    return {row[0] for row in gone}


def node_of(sql: Psql, session: str) -> str | None:
    row = sql.execute(
        "SELECT node_id::text FROM presence_connection WHERE id = %s", [session]
    ).fetchone()
    return row[0] if row else None


async def test_a_process_that_stood_still_tells_its_sessions_before_it_beats_and_begins_anew(
    shared_database: None, sql: Psql, clock: Clock
) -> None:
    seat = scene.new_seat(sql)
    made = Roster()
    heard: list[str] = []
    revived = asyncio.Event()

    def on_paused() -> None:
        assert not made.alive
        assert scene.count(sql, "presence_node", "id = %s", first) == 1  # it has not beaten yet
        heard.append("paused")

    made.on_paused, made.on_alive = on_paused, revived.set
    await made.start()
    try:
        first, old = made.node, await begin(made, seat)
        clock.jumped = conf.current().lease_s + 1
        assert not made.alive
        async with asyncio.timeout(5):
            await revived.wait()
        assert heard == ["paused"]
        assert made.node != first
        assert scene.count(sql, "presence_node", "id = %s", first) == 0
        assert node_of(sql, old.session) is None  # and nobody waits for it
        assert await made.missing() == {old.session}  # whoever was not told yet is found by it
        new = await begin(made, seat)
        await made.leave(old.session)
        assert node_of(sql, new.session) == made.node
    finally:
        await made.stop()


async def test_whoever_arrives_while_a_process_wakes_up_is_stored(
    shared_database: None, sql: Psql, clock: Clock
) -> None:
    """A session that is held and not stored is one that no revocation would wait for."""
    seats = [scene.new_seat(sql) for _ in range(20)]
    made = Roster()
    asked: list[asyncio.Future[Arrival]] = []

    async def arrive_all() -> None:
        for seat in seats:  # in as many turns of the loop
            asked.append(asyncio.ensure_future(begin(made, seat)))
            await asyncio.sleep(0)

    arriving: list[asyncio.Future[None]] = []
    made.on_paused = lambda: arriving.append(asyncio.ensure_future(arrive_all()))
    revived = asyncio.Event()
    made.on_alive = revived.set
    await made.start()
    try:
        early = await begin(made, seats[0])
        clock.jumped = conf.current().lease_s + 1
        async with asyncio.timeout(5):
            await revived.wait()
        await arriving[0]
        came = await asyncio.gather(*asked)
        stored = {row[0] for row in sql.execute(STORED, [made.node])}
        assert stored == {one.session for one in came}
        assert stored == made.sessions.keys() - {early.session}
    finally:
        await made.stop()


async def test_a_session_that_began_in_the_moment_of_a_pause_is_not_begun(
    shared_database: None, sql: Psql, clock: Clock
) -> None:
    """It is held, but nobody else knows of it yet: it would neither be told nor waited for."""
    seat = scene.new_seat(sql)
    made = Roster()
    await made.start()
    try:
        asked = asyncio.ensure_future(made.arrive(seat.token))
        while not made.sessions:  # noqa: ASYNC110 - in the very turn in which the answer came
            await asyncio.sleep(0)
        clock.jumped = conf.current().lease_s + 1
        made._notice()
        with pytest.raises(psycopg.OperationalError, match="stood still"):
            await asked
        assert made.sessions == {}
    finally:
        await made.stop()


async def test_sessions_that_cannot_be_told_do_not_end_the_beats(
    shared_database: None, sql: Psql, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    made = Roster()
    revived = asyncio.Event()

    def fail() -> None:
        raise ValueError("mine")

    made.on_paused, made.on_alive = fail, revived.set
    await made.start()
    try:
        clock.jumped = conf.current().lease_s + 1
        async with asyncio.timeout(5):
            await revived.wait()
        assert made.alive
        assert "were not told" in caplog.text
    finally:
        await made.stop()


@pytest.mark.slow
async def test_a_process_that_stood_still_and_finds_no_database_begins_anew_when_it_is_back(
    shared_database: None, sql: Psql, clock: Clock
) -> None:
    seat = scene.new_seat(sql)
    made = Roster()
    paused, revived = asyncio.Event(), asyncio.Event()
    made.on_paused, made.on_alive = paused.set, revived.set
    await made.start()
    try:
        await begin(made, seat)
        with scene.connect() as foreign:
            foreign.execute("BEGIN; LOCK TABLE presence_node IN ACCESS EXCLUSIVE MODE")
            clock.jumped = conf.current().lease_s + 1
            async with asyncio.timeout(5):
                await paused.wait()
            await asyncio.sleep(2 * rosters.LOCK_TIMEOUT_MS / 1000)
            assert not made.alive
            foreign.execute("ROLLBACK")
        async with asyncio.timeout(5):
            await revived.wait()
        assert sessions(sql, seat.device) == 0
    finally:
        await made.stop()


async def test_a_process_that_only_missed_its_beats_keeps_its_sessions_and_their_states(
    shared_database: None, sql: Psql, settings: Any
) -> None:
    """It could not reach the database for longer than its lease, and was reaped."""
    settings.LOCKSTEP_PRESENCE = {"beat_s": 0.05}
    seat = scene.new_seat(sql)
    made = Roster()
    await made.start()
    try:
        first, arrival = made.node, await begin(made, seat)
        await made.set_state(arrival.session, "away")
        sql.execute(
            "UPDATE presence_node SET lease = now() - interval '1 hour' WHERE id = %s", [first]
        )
        reap(sql)
        await scene.eventually(lambda: made.node != first and made.alive)
        assert node_of(sql, arrival.session) == made.node
        assert (
            scene.one(sql, "SELECT state FROM presence_connection WHERE id = %s", arrival.session)
            == "away"
        )
    finally:
        await made.stop()


async def test_sessions_that_went_to_a_node_registered_in_vain_follow_to_the_next(
    roster: Roster, sql: Psql
) -> None:
    """The answer to the registration was lost: they would go with that node's lease."""
    arrival = await begin(roster, scene.new_seat(sql))
    vain = scene.one(sql, "INSERT INTO presence_node (name) VALUES ('vain') RETURNING id::text")
    async with roster._line.lock:
        await roster._readmit(vain)
        assert node_of(sql, arrival.session) == vain
        await roster._readmit(str(roster.node))
    assert node_of(sql, arrival.session) == roster.node


# Death


async def test_the_dead_were_seen_until_their_lease_ended(shared_database: None, sql: Psql) -> None:
    dead, twice = scene.new_seat(sql), scene.new_seat(sql)
    node, gone = (
        scene.one(
            sql,
            "INSERT INTO presence_node (lease) VALUES (now() - %s::interval) RETURNING id::text",
            ago,
        )
        for ago in ("10 min", "5 min")
    )
    for seat, where in ((dead, node), (twice, node), (twice, gone)):
        sql.execute(
            "INSERT INTO presence_connection (device_id, node_id) VALUES (%s, %s)",
            [seat.device, where],
        )
    sql.execute(
        "UPDATE presence_device SET last_seen = now() - interval '1 h' WHERE id = %s", [dead.device]
    )
    users = reap(sql)
    assert users >= {dead.user, twice.user}
    ago = "SELECT round(extract(epoch FROM now() - last_seen) / 60) FROM presence_device WHERE id = %s"
    assert scene.one(sql, ago, dead.device) == 10
    assert scene.one(sql, ago, twice.device) == 5
    assert scene.count(sql, "presence_node", "id = ANY (%s::uuid[])", [node, gone]) == 0
    assert sessions(sql, dead.device) == 0


async def test_nobody_is_reaped_within_one_lease_of_their_end(
    shared_database: None, sql: Psql
) -> None:
    node = scene.one(
        sql, "INSERT INTO presence_node (lease) VALUES (now() - interval '5 s') RETURNING id"
    )
    reap(sql)
    assert scene.count(sql, "presence_node", "id = %s", node) == 1


async def test_a_device_that_somebody_locks_does_not_hold_up_the_reaping(
    shared_database: None, sql: Psql
) -> None:
    seat = scene.new_seat(sql)
    node = scene.one(
        sql, "INSERT INTO presence_node (lease) VALUES (now() - interval '1 min') RETURNING id"
    )
    sql.execute(
        "INSERT INTO presence_connection (device_id, node_id) VALUES (%s, %s)", [seat.device, node]
    )
    with scene.connect() as foreign, scene.connect() as roster:
        foreign.execute("BEGIN")
        foreign.execute("SELECT FROM presence_device WHERE id = %s FOR UPDATE", [seat.device])
        roster.execute("SET lock_timeout = 100")
        reap(roster)
        foreign.execute("ROLLBACK")
    assert sessions(sql, seat.device) == 0


async def test_a_process_that_is_started_again_under_the_same_name_raises_nobody(
    shared_database: None, sql: Psql
) -> None:
    seat = scene.new_seat(sql)
    killed = Roster()
    await killed.start()
    arrival = await begin(killed, seat)
    for task in killed._beating:
        task.cancel()
    again = Roster()
    await again.start()
    try:
        names = "SELECT count(DISTINCT name) FROM presence_node WHERE id = ANY (%s::uuid[])"
        assert scene.one(sql, names, [killed.node, again.node]) == 1
        assert killed.node != again.node
        assert node_of(sql, arrival.session) == killed.node  # as long as its lease lasts
        sql.execute(
            "UPDATE presence_node SET lease = now() - interval '1 min' WHERE id = %s", [killed.node]
        )
        async with again._line.lock:
            await again._bury(statements.REAP, conf.current().lease_s, time())
        assert sessions(sql, seat.device) == 0
        await again._renew()
        assert sessions(sql, seat.device) == 0
    finally:
        await again.stop()
        await killed.stop()


async def test_a_stopped_process_begins_no_session(roster: Roster, sql: Psql) -> None:
    await roster.stop()
    with pytest.raises(psycopg.OperationalError, match="stopped"):
        await roster.arrive(scene.new_seat(sql).token)
