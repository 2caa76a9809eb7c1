"""What is read of a deployment's database: of that deployment's, or of none."""

import uuid
from collections.abc import Iterator

import pytest

from perf import evidence
from perf.rig.accounts import Account
from perf.rig.children import RigError
from perf.rig.environment import Environment
from project import postgres, services
from tests import scene
from tests.plugin import migrated
from tests.scene import Psql


def place(*conversations: str, database_url: str | None = None) -> Environment:
    """A server that runs already, with one account."""
    account = Account(user="u", device="d", token="t", conversations=conversations)
    return Environment(
        url="http://other.example",
        accounts=[account],
        database_url=database_url or scene.database_url(),
    )


@pytest.fixture
def standby() -> Iterator[str]:
    """The address of a database that is read-only, and as old as its last word from another one."""
    with migrated() as directory, services.use(directory):
        found = services.locate(directory)
        postgres.stop(found.home)
        (found.home.directory / "postgres" / "standby.signal").touch()
        postgres.start(found.home)
        yield found.database_url


@pytest.mark.slow
async def test_a_standby_is_refused_since_it_may_lack_what_was_acknowledged(standby: str) -> None:
    with pytest.raises(RigError, match="that is a standby, which may not have yet what the server"):
        await evidence.starts_of(place(database_url=standby))


@pytest.mark.django_db
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
