"""What is read of a deployment's database: of that deployment's, or of none."""

import uuid

import pytest

from perf import evidence
from perf.rig.accounts import Account
from perf.rig.children import RigError
from perf.rig.environment import Environment
from tests import scene
from tests.scene import Psql

pytestmark = pytest.mark.django_db


def place(*conversations: str) -> Environment:
    """A server that runs already, with one account."""
    account = Account(user="u", device="d", token="t", conversations=conversations)
    return Environment(
        url="http://other.example", accounts=[account], database_url=scene.database_url()
    )


async def test_a_database_without_the_conversations_of_the_accounts_is_that_of_another(
    sql: Psql,
) -> None:
    room = scene.new_room(sql)
    assert list(await evidence.starts_of(place(room.id))) == [room.id]
    with pytest.raises(RigError) as raised:
        await evidence.starts_of(place(room.id, str(uuid.uuid4())))
    assert str(raised.value) == (
        "1 of the accounts' 2 conversations are not in the database: "
        "is --database (or DATABASE_URL) that of http://other.example?"
    )
