"""The roster against a real database: hellos in batches, and revocation as a waiting call."""

import asyncio

import pytest

from presence import roster as rosters
from presence.roster import Roster
from tests import scene
from tests.scene import Psql, Seat, sessions

pytestmark = pytest.mark.django_db


async def test_a_session_begins_with_a_token_and_ends_with_leave(roster: Roster, sql: Psql) -> None:
    seat = scene.new_seat(sql)
    arrival = await roster.arrive(seat.token)
    assert arrival is not None
    assert (arrival.device, arrival.user) == (seat.device, seat.user)
    assert sessions(sql, seat.device) == 1
    await roster.leave(arrival.session)
    assert sessions(sql, seat.device) == 0
    assert scene.count(sql, "presence_device", "id = %s AND last_seen IS NOT NULL", seat.device)
    await roster.leave(arrival.session)  # twice does no harm


async def test_hellos_that_wait_together_share_one_statement(
    roster: Roster, sql: Psql, ran: list[str]
) -> None:
    seats = [scene.new_seat(sql) for _ in range(50)]
    ran.clear()
    tokens = [*(seat.token for seat in seats), "unknown", seats[0].token]
    arrivals = await asyncio.gather(*(roster.arrive(token) for token in tokens))
    assert len(ran) == 1
    assert [a.device if a else None for a in arrivals] == [
        *(seat.device for seat in seats),
        None,
        seats[0].device,
    ]
    assert sessions(sql, seats[0].device) == 2  # two tabs


async def test_a_storm_of_hellos_is_a_few_statements_however_they_trickle_in(
    roster: Roster, sql: Psql, ran: list[str]
) -> None:
    tokens = [scene.new_seat(sql).token for _ in range(450)]
    ran.clear()
    async with roster._line.lock:
        asked = []
        for token in tokens:  # each in a turn of its own
            asked.append(asyncio.ensure_future(roster.arrive(token)))
            await asyncio.sleep(0)
    assert all(await asyncio.gather(*asked))
    assert len([one for one in ran if "hello AS" in one]) == 3  # a beat may come between
    ran.clear()
    await asyncio.gather(*(roster.leave(session) for session in list(roster.sessions)))
    assert len(ran) == 1


@pytest.mark.parametrize("why", ["revoked", "inactive", "rotated"])
async def test_who_may_not_come_in_does_not(roster: Roster, sql: Psql, why: str) -> None:
    seat = scene.new_seat(sql)
    if why == "revoked":
        scene.revoke(sql, seat.device)
    elif why == "inactive":
        sql.execute("UPDATE presence_user SET is_active = false WHERE id = %s", [seat.user])
    else:
        sql.execute(
            "UPDATE presence_device SET token_hash = sha256('new') WHERE id = %s", [seat.device]
        )
    assert await roster.arrive(seat.token) is None
    assert sessions(sql, seat.device) == 0


async def test_a_caller_cancelled_while_its_session_begins_leaves_none(
    roster: Roster, sql: Psql
) -> None:
    """Also in the very turn of the loop in which the answer came."""
    for turn in (0, 1, 2, None):
        seat = scene.new_seat(sql)
        asked = asyncio.ensure_future(roster.arrive(seat.token))
        if turn is None:
            while not roster.sessions:  # noqa: ASYNC110 - every turn counts
                await asyncio.sleep(0)
        else:
            for _ in range(turn):
                await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await scene.eventually(lambda: not roster.sessions)
        await _round_trip(roster)
        assert sessions(sql, seat.device) == 0


async def _round_trip(roster: Roster) -> None:
    """Everything asked before is answered."""
    await roster.revoked([])
    await roster.arrive("nobody")
    await scene.eventually(lambda: not roster.sessions)


async def test_stopping_lets_those_who_leave_finish(shared_database: None, sql: Psql) -> None:
    seat = scene.new_seat(sql)
    made = Roster()
    await made.start()
    arrival = await made.arrive(seat.token)
    assert arrival
    leaving = asyncio.ensure_future(made.leave(arrival.session))
    await made.emptied()
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await made.stop()
        await leaving
    assert sessions(sql, seat.device) == 0
    assert scene.count(sql, "presence_node", "id = %s", made.node) == 0


# Revocation


async def test_revoke_returns_once_no_live_process_holds_a_session(
    roster: Roster, other: Roster, sql: Psql
) -> None:
    seat = scene.new_seat(sql)
    here, there = await roster.arrive(seat.token), await other.arrive(seat.token)
    assert here
    assert there
    revoking = asyncio.ensure_future(rosters.revoke(seat.device))
    await scene.eventually(
        lambda: scene.count(sql, "presence_device", "id = %s AND revoked IS NOT NULL", seat.device)
    )
    assert await other.arrive(seat.token) is None  # from the commit on
    assert await roster.revoked([seat.device]) == {seat.device}
    await roster.leave(here.session)
    assert not await _ends(revoking)
    await other.leave(there.session)
    assert await _ends(revoking, within=5)


async def _ends(task: asyncio.Future[None], *, within: float = 3 * rosters.POLL_S) -> bool:
    done, _ = await asyncio.wait({task}, timeout=within)
    return bool(done)


async def test_revoking_twice_or_an_offline_device_returns_at_once(
    roster: Roster, sql: Psql
) -> None:
    seat = scene.new_seat(sql)
    await rosters.revoke(seat.device)
    first = _revoked(sql, seat)
    await rosters.revoke(seat.device)
    assert _revoked(sql, seat) == first


def _revoked(sql: Psql, seat: Seat) -> object:
    row = sql.execute("SELECT revoked FROM presence_device WHERE id = %s", [seat.device]).fetchone()
    assert row
    return row[0]


async def test_a_hello_waits_for_a_revocation_under_way(roster: Roster, sql: Psql) -> None:
    seat = scene.new_seat(sql)
    with scene.connect() as revoker:
        revoker.execute("BEGIN")
        scene.revoke(revoker, seat.device)
        asked = asyncio.ensure_future(roster.arrive(seat.token))
        await scene.eventually(
            lambda: scene.count(
                sql,
                "pg_stat_activity",
                "application_name = 'lockstep roster' AND wait_event_type = 'Lock'",
            )
        )
        revoker.execute("COMMIT")
    assert await asked is None


@pytest.mark.slow
async def test_a_dead_process_holds_up_a_revocation_only_as_long_as_its_lease(
    roster: Roster, sql: Psql
) -> None:
    seat = scene.new_seat(sql)
    dead = scene.one(
        sql, "INSERT INTO presence_node (lease) VALUES (now() + interval '0.7 s') RETURNING id"
    )
    sql.execute(
        "INSERT INTO presence_connection (device_id, node_id) VALUES (%s, %s)", [seat.device, dead]
    )
    await rosters.revoke(seat.device)
    assert scene.one(sql, "SELECT lease < now() FROM presence_node WHERE id = %s", dead)
