"""After the lights went out the database itself is asked, and can say that something is missing."""

import pytest

from perf.faults.everything import missing
from tests import scene
from tests.scene import Psql

pytestmark = pytest.mark.django_db


async def test_what_was_acknowledged_and_is_not_stored_is_named(sql: Psql) -> None:
    room = scene.new_room(sql)
    sql.execute(
        "INSERT INTO messaging_message (conversation_id, body, device_id, client_id)"
        " VALUES (%s, 'hi', %s, 'kept')",
        [room.id, room.first.device],
    )
    assert await missing(scene.database_url(), {"kept", "lost"}) == {"lost"}
