"""How sessions and users are here: written in lots, announced once committed, ended by others."""

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from presence import database, statements
from presence import roster as rosters
from presence.roster import Arrival, Roster
from presence.signals import presence_changed
from tests import scene
from tests.frozen import backends, frozen
from tests.scene import Psql

pytestmark = pytest.mark.django_db


@pytest.fixture
def announced() -> Iterator[list[set[str]]]:
    """Whose presence changed, by each announcement."""
    made: list[set[str]] = []

    def note(users: set[str], **_: object) -> None:
        made.append(users)

    presence_changed.connect(note)
    yield made
    presence_changed.disconnect(note)


async def arrive(roster: Roster, sql: Psql, count: int = 1) -> list[Arrival]:
    seats = [scene.new_seat(sql) for _ in range(count)]
    arrivals = await asyncio.gather(*(roster.arrive(seat.token) for seat in seats))
    return [arrival for arrival in arrivals if arrival]


def states(sql: Psql, *arrivals: Arrival) -> list[str]:
    rows = sql.execute(
        "SELECT id::text, state FROM presence_connection WHERE id = ANY (%s::uuid[])",
        [[arrival.session for arrival in arrivals]],
    )
    found = {row[0]: row[1] for row in rows}
    return [found[arrival.session] for arrival in arrivals]


async def test_states_that_wait_together_share_one_statement_and_one_announcement(
    roster: Roster, sql: Psql, ran: list[str], announced: list[set[str]]
) -> None:
    arrivals = await arrive(roster, sql, 50)
    ran.clear()
    announced.clear()
    await asyncio.gather(*(roster.set_state(one.session, "away") for one in arrivals))
    assert ran == [statements.SET_STATES]
    assert announced == [{one.user for one in arrivals}]
    assert set(states(sql, *arrivals)) == {"away"}


async def test_what_is_asked_while_a_lot_is_written_is_one_lot(
    roster: Roster, sql: Psql, ran: list[str]
) -> None:
    arrivals = await arrive(roster, sql, 20)
    ran.clear()
    async with roster._line.lock:
        asked = []
        for one in arrivals:  # each in a turn of its own
            asked.append(asyncio.ensure_future(roster.set_state(one.session, "away")))
            await asyncio.sleep(0)
    await asyncio.gather(*asked)
    assert ran == [statements.SET_STATES] * 2


async def test_a_repeat_is_free_and_the_last_word_counts(
    roster: Roster, sql: Psql, ran: list[str], announced: list[set[str]]
) -> None:
    [arrival] = await arrive(roster, sql)
    ran.clear()
    announced.clear()
    await roster.set_state(arrival.session, "online")
    assert (ran, announced) == ([], [])
    session = arrival.session
    await asyncio.gather(roster.set_state(session, "away"), roster.set_state(session, "online"))
    assert states(sql, arrival) == ["online"]
    await roster.set_state("no session of ours", "away")


async def test_the_last_word_counts_also_while_earlier_ones_are_on_their_way(
    roster: Roster, sql: Psql
) -> None:
    [arrival] = await arrive(roster, sql)
    session = arrival.session
    async with roster._line.lock:
        first = asyncio.ensure_future(roster.set_state(session, "away"))
        await scene.eventually(lambda: roster._states._worker and not roster._states._waiting)
        second = asyncio.ensure_future(roster.set_state(session, "online"))
        await scene.eventually(lambda: roster._states._waiting)
    await first
    await roster.set_state(session, "away")
    await second
    assert states(sql, arrival) == ["away"]


async def test_a_state_that_may_not_be_stored_is_said_again(roster: Roster, sql: Psql) -> None:
    [arrival] = await arrive(roster, sql)
    with scene.connect() as foreign:
        foreign.execute("BEGIN; LOCK TABLE presence_connection IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(psycopg.Error):
            await roster.set_state(arrival.session, "away")
        foreign.execute("ROLLBACK")
    await roster.set_state(arrival.session, "away")
    assert states(sql, arrival) == ["away"]


async def test_statements_of_users_that_wait_together_are_merged_in_their_order(
    roster: Roster, sql: Psql, ran: list[str], announced: list[set[str]]
) -> None:
    ann, bob = scene.new_user(sql), scene.new_user(sql)
    await asyncio.gather(
        roster.describe(ann, text="lunch", until=4_000_000_000_000),
        roster.describe(bob, invisible=True),
        roster.describe(ann, invisible=True),
        roster.describe(ann, until=5_000_000_000_000),
        roster.describe(bob, text="x", until=-5),
        roster.describe(bob),
    )
    assert ran == [statements.MAKE_STATUSES, statements.DESCRIBE]
    assert announced == [{ann, bob}]
    said = "SELECT text, (extract(epoch FROM text_until) * 1000)::bigint, invisible FROM presence_status WHERE user_id = %s"
    assert sql.execute(said, [ann]).fetchone() == ("lunch", 5_000_000_000_000, True)
    assert sql.execute(said, [bob]).fetchone() == ("x", 0, True)


async def test_an_end_beyond_all_calendars_is_the_end_of_the_last_year(
    roster: Roster, sql: Psql
) -> None:
    user = scene.new_user(sql)
    await roster.describe(user, text="for ever", until=2**60)
    until = "SELECT extract(year FROM text_until AT TIME ZONE 'UTC')::int FROM presence_status WHERE user_id = %s"
    assert scene.one(sql, until, user) == 9999


async def test_a_text_that_is_too_long_is_refused(roster: Roster, sql: Psql) -> None:
    user = scene.new_user(sql)
    await roster.describe(user, text="ä" * 140)
    with pytest.raises(psycopg.DataError):
        await roster.describe(user, text="ä" * 141)


async def test_every_change_is_announced_once_it_is_committed(
    roster: Roster, sql: Psql, announced: list[set[str]]
) -> None:
    seat = scene.new_seat(sql)
    arrival = await roster.arrive(seat.token)
    assert arrival
    await roster.set_state(arrival.session, "away")
    await roster.describe(seat.user, text="x")
    await roster.leave(arrival.session)
    assert announced == [{seat.user}] * 4
    assert await roster.arrive("nobody's token") is None
    assert announced == [{seat.user}] * 4


async def test_a_receiver_that_fails_costs_nobody_a_hello(
    roster: Roster, sql: Psql, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: object) -> None:
        raise ValueError("mine")

    presence_changed.connect(fail)
    try:
        assert await arrive(roster, sql)
    finally:
        presence_changed.disconnect(fail)
    assert "failed" in caplog.text


# Sessions that others end


async def test_sessions_that_a_hand_ended_are_missing(roster: Roster, sql: Psql) -> None:
    stays, deleted, ended = await arrive(roster, sql, 3)
    assert await roster.missing() == set()
    sql.execute("DELETE FROM presence_connection WHERE id = %s", [deleted.session])
    sql.execute("UPDATE presence_connection SET state = 'ending' WHERE id = %s", [ended.session])
    assert await roster.missing() == {deleted.session, ended.session}
    await roster.set_state(ended.session, "away")  # says nobody any more
    assert states(sql, stays, ended) == ["online", "ending"]
    await roster.leave(ended.session)
    assert await roster.missing() == {deleted.session}


@pytest.mark.parametrize(
    "taken",
    [
        "DELETE FROM presence_node WHERE id = %s",
        "UPDATE presence_node SET lease = now() WHERE id = %s",
    ],
)
async def test_no_session_is_missing_of_a_process_that_was_taken_for_dead(
    roster: Roster, sql: Psql, taken: str
) -> None:
    """They come back with its next beat."""
    await arrive(roster, sql, 2)
    with sql.transaction():
        sql.execute("DELETE FROM presence_connection WHERE node_id = %s", [roster.node])
        sql.execute(taken.encode(), [roster.node])
    assert await roster.missing() == set()


async def test_who_left_while_the_database_was_away_is_announced_once_it_is_back(
    shared_database: None,
    sql: Psql,
    announced: list[set[str]],
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
) -> None:
    """The beat that signs them off later is the only one who knows: a pass may be 5 s away."""
    monkeypatch.setattr(rosters, "STATEMENT_TIMEOUT_MS", 1_000)
    monkeypatch.setattr(database, "ANSWER_S", -0.8)
    settings.LOCKSTEP_PRESENCE = {"beat_s": 0.1}
    made = Roster()
    await made.start()
    try:
        (arrival,) = await arrive(made, sql)
        announced.clear()
        with frozen(*backends(sql, "lockstep roster")):
            await made.leave(arrival.session)
            assert announced == []
            await scene.eventually(lambda: {arrival.user} in announced)
        assert scene.sessions(sql, arrival.device) == 0
    finally:
        await made.stop()
