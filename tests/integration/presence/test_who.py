"""Who is here, as the database tells it: leases, states, texts and last sessions, by its own clock."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import psycopg
import pytest
from django.db import connections

from presence import conf, liveness
from presence.liveness import Here
from presence.roster import Roster
from presence.who import Reader, who_is_here
from tests import scene
from tests.scene import Psql, Seat

pytestmark = pytest.mark.django_db


@pytest.fixture
async def reader(shared_database: None) -> AsyncIterator[Reader]:
    made = Reader()
    yield made
    await made.close()


async def test_a_user_is_as_their_sessions_are(roster: Roster, reader: Reader, sql: Psql) -> None:
    phone = scene.new_seat(sql)
    laptop = scene.new_seat(sql, phone.user)
    assert roster.node
    arrival = await roster.arrive(phone.token)
    assert arrival
    here = await _one(reader, phone.user)
    assert here.seats == (liveness.Seat(phone.device, roster.node, "online", live=True),)
    assert here.devices == {phone.device: "online", laptop.device: "offline"}
    assert (here.state, here.last_seen, here.gone) == ("online", None, None)
    await roster.set_state(arrival.session, "away")
    assert (await _one(reader, phone.user)).state == "away"
    await roster.leave(arrival.session)
    here = await _one(reader, phone.user)
    assert here.state == "offline"
    assert here.gone is not None
    assert 0 <= here.gone < 2
    assert here.last_seen


async def test_what_a_user_says_is_kept_until_it_is_said_otherwise(
    roster: Roster, reader: Reader, sql: Psql
) -> None:
    user = scene.new_user(sql)
    await roster.describe(user, text="lunch", until=4_000_000_000_000)
    await roster.describe(user, invisible=True)
    here = await _one(reader, user)
    assert (here.text, here.until, here.invisible) == ("lunch", 4_000_000_000_000, True)
    assert here.text_left
    await roster.describe(user, text="back")
    here = await _one(reader, user)
    assert (here.text, here.until, here.text_left, here.invisible) == ("back", None, None, True)
    await roster.describe(user, until=1)
    assert (await _one(reader, user)).text == ""
    assert roster.node in await reader.live_nodes()


async def test_a_text_until_infinity_is_shown_for_ever_and_hides_nobody_else(
    reader: Reader, sql: Psql
) -> None:
    """As SQL says it; of somebody else in the same look nothing was known any more."""
    user, other = scene.new_user(sql), scene.new_user(sql)
    sql.execute(
        "INSERT INTO presence_status (user_id, text, text_until) VALUES (%s, 'sailing', 'infinity'), (%s, 'lunch', NULL)",
        [user, other],
    )
    seen = await reader.who_is_here([user, other])
    assert [(seen[one].text, seen[one].until, seen[one].text_left) for one in (user, other)] == [
        ("sailing", None, None),
        ("lunch", None, None),
    ]


async def _one(reader: Reader, user: str) -> Here:
    return (await reader.who_is_here([user]))[user]


def _seat_on(sql: Psql, seat: Seat, lease: str, state: str = "online") -> str:
    """A session of the device on a node of its own, whose lease is over in so long."""
    node = str(
        scene.one(
            sql,
            "INSERT INTO presence_node (lease) VALUES (now() + %s::interval) RETURNING id::text",
            lease,
        )
    )
    sql.execute(
        "INSERT INTO presence_connection (device_id, node_id, state) VALUES (%s, %s, %s)",
        [seat.device, node, state],
    )
    return node


async def test_two_processes_hold_the_sessions_of_one_user(
    roster: Roster, other: Roster, reader: Reader, sql: Psql
) -> None:
    phone = scene.new_seat(sql)
    laptop = scene.new_seat(sql, phone.user)
    here, there = await roster.arrive(phone.token), await other.arrive(laptop.token)
    assert here
    assert there
    await roster.set_state(here.session, "away")
    seen = await _one(reader, phone.user)
    assert seen.state == "online"
    assert seen.devices == {phone.device: "away", laptop.device: "online"}
    assert {seat.node for seat in seen.seats} == {roster.node, other.node}
    await other.leave(there.session)
    assert (await _one(reader, phone.user)).state == "away"
    await other.stop()
    assert (await _one(reader, phone.user)).state == "away"


async def test_a_session_counts_as_long_as_its_lease_and_was_silent_for_one_when_it_ends(
    reader: Reader, sql: Psql
) -> None:
    seat = scene.new_seat(sql)
    node = _seat_on(sql, seat, "0.3 s")
    assert (await _one(reader, seat.user)).state == "online"
    left = (await reader.live_nodes())[node]
    assert 0 < left <= 0.3
    await asyncio.sleep(left)
    here = await _one(reader, seat.user)
    assert here.state == "offline"
    assert here.gone is not None
    assert here.gone >= conf.current().lease_s
    assert here.last_seen
    assert node not in await reader.live_nodes()


async def test_a_death_does_not_hide_that_another_session_ended_just_now(
    roster: Roster, reader: Reader, sql: Psql
) -> None:
    seat = scene.new_seat(sql)
    _seat_on(sql, seat, "-1 s")
    arrival = await roster.arrive(seat.token)
    assert arrival
    await roster.leave(arrival.session)
    here = await _one(reader, seat.user)
    assert here.gone is not None
    assert here.gone < 1


async def test_a_session_that_was_asked_to_end_counts_no_more_and_is_not_missed_yet(
    reader: Reader, sql: Psql
) -> None:
    seat = scene.new_seat(sql)
    _seat_on(sql, seat, "1 min", "ending")
    here = await _one(reader, seat.user)
    assert (here.state, here.gone) == ("offline", 0)


async def test_revoked_devices_count_no_more_but_were_seen(
    roster: Roster, reader: Reader, sql: Psql
) -> None:
    seat = scene.new_seat(sql)
    _seat_on(sql, seat, "1 min")
    sql.execute("UPDATE presence_device SET last_seen = now() WHERE id = %s", [seat.device])
    scene.revoke(sql, seat.device)
    here = await _one(reader, seat.user)
    assert (here.state, here.devices) == ("offline", {})
    assert here.last_seen


async def test_whoever_is_unknown_is_not_here(reader: Reader) -> None:
    nobody = str(uuid4())
    assert await reader.who_is_here([nobody]) == {nobody: Here(user=nobody)}
    assert await reader.who_is_here([]) == {}


async def test_django_asks_the_same(roster: Roster, reader: Reader, sql: Psql) -> None:
    seat = scene.new_seat(sql)
    await roster.arrive(seat.token)
    await roster.describe(seat.user, text="hi")
    asked = await asyncio.to_thread(_with_own_connection, seat.user)
    assert asked == await reader.who_is_here([seat.user])


def _with_own_connection(user: str) -> dict[str, Here]:
    try:
        return who_is_here([user])
    finally:
        connections.close_all()


async def test_a_reader_that_was_closed_says_so(reader: Reader) -> None:
    await reader.live_nodes()
    await reader.close()
    with pytest.raises(psycopg.OperationalError, match="stopped"):
        await reader.live_nodes()
