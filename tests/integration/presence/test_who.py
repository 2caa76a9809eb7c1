"""Who is here, as the database tells it: leases, states, texts and last sessions, by its own clock."""

from collections.abc import AsyncIterator

import pytest

from presence.liveness import Seat
from presence.roster import Roster
from presence.who import Reader
from tests import scene
from tests.scene import Psql

pytestmark = pytest.mark.django_db


@pytest.fixture
async def roster(shared_database: None) -> AsyncIterator[Roster]:
    """A server process, as far as the roster knows."""
    made = Roster()
    await made.start()
    yield made
    await made.stop()


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
    here = (await reader.who_is_here([phone.user]))[phone.user]
    assert here.seats == (Seat(phone.device, roster.node, "online", live=True),)
    assert here.devices == {phone.device: "online", laptop.device: "offline"}
    assert (here.state, here.last_seen, here.gone) == ("online", None, None)
    await roster.set_state(arrival.session, "away")
    assert (await reader.who_is_here([phone.user]))[phone.user].state == "away"
    await roster.leave(arrival.session)
    here = (await reader.who_is_here([phone.user]))[phone.user]
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
    here = (await reader.who_is_here([user]))[user]
    assert (here.text, here.until, here.invisible) == ("lunch", 4_000_000_000_000, True)
    assert here.text_left
    await roster.describe(user, text="back")
    here = (await reader.who_is_here([user]))[user]
    assert (here.text, here.until, here.text_left, here.invisible) == ("back", None, None, True)
    await roster.describe(user, until=1)
    assert (await reader.who_is_here([user]))[user].text == ""
    assert roster.node in await reader.live_nodes()
