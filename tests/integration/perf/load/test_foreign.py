"""Foreign programs at the database of a site: they keep to the conversations that they were given."""

import pytest

from perf.load.foreign import READ
from tests import scene
from tests.scene import Psql

pytestmark = pytest.mark.django_db


def test_heavy_readers_read_nothing_of_other_conversations(sql: Psql) -> None:
    """Of a site with millions of messages each would sort hundreds of millions of rows, on its disk."""
    ours, others = scene.new_room(sql), scene.new_room(sql)
    scene.insert(sql, ours.id, "ours")
    for number in range(3):
        scene.insert(sql, others.id, f"somebody's {number}")
    stored = "SELECT count(*) FROM messaging_message WHERE conversation_id = %s"
    own = sql.execute(stored, [ours.id]).fetchone()
    read = sql.execute(READ, {"conversations": [ours.id]}).fetchone()
    assert own is not None
    assert read is not None
    assert read[0] == 20 * own[0] > 0
