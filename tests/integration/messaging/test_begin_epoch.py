"""The step after a restored backup, without and beside running servers."""

from io import StringIO
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.db import connection

from messaging.engine import Engine
from messaging.models import Epoch
from messaging.protocol.errors import CloseCode
from tests import scene
from tests.device import Device
from tests.scene import Psql, Room


def test_a_restored_backup_begins_a_new_epoch_and_names_it(transactional_db: None) -> None:
    before = Epoch.objects.get_or_create(pk=1)[0].value
    said = StringIO()
    call_command("begin_epoch", stdout=said)
    after = Epoch.objects.get().value
    assert after != before
    assert str(after) in said.getvalue()


def begin_epoch() -> None:
    call_command("begin_epoch", stdout=StringIO())
    connection.close()


@pytest.mark.slow
@pytest.mark.django_db
async def test_a_server_that_runs_beside_it_sends_its_devices_away_and_starts_them_anew(
    engine: Engine, attach: Any, room: Room, sql: Psql
) -> None:
    """The database has lost the last two of four messages: what the server knew is of no use."""
    ann = await attach(room.first)
    for body in ("m1", "m2", "m3", "m4"):
        answer = await ann.write(room.id, body)
    await ann.reaches(room.id, answer["seq"])
    old = ann.welcome["epoch"]
    with sql.transaction():
        sql.execute("SET LOCAL session_replication_role = replica")
        sql.execute(
            "DELETE FROM messaging_message WHERE conversation_id = %s AND seq > 4", [room.id]
        )
        sql.execute("UPDATE messaging_conversation SET last_seq = 4 WHERE id = %s", [room.id])
        sql.execute(
            "UPDATE messaging_receipt SET delivered = 4 WHERE conversation_id = %s", [room.id]
        )
    await sync_to_async(begin_epoch)()
    assert await ann.ended() == CloseCode.RESTART
    assert room.id not in engine.hub.topics
    await attach(ann, epoch=old)
    await ann.hear("reset")
    assert ann.welcome["epoch"] != old
    await ann.reaches(room.id, 4)
    await ann.reaches(room.id, (await ann.write(room.id, "m5"))["seq"])
    assert ann.bodies(room.id) == scene.bodies(sql, room.id) == ["m1", "m2", "m5"]


@pytest.mark.django_db
async def test_a_conversation_that_only_the_lost_database_had_is_said_to_be_left(
    attach: Any, room: Room
) -> None:
    device = Device(room.first.token)
    device.cursors = {room.id: 2, "01a1fc67-4d76-7175-bbac-488cc59361c0": 3}
    await attach(device)
    left = await device.hear("left")
    assert (left["conversation"], left["upto"]) == ("01a1fc67-4d76-7175-bbac-488cc59361c0", 0)
    await device.ask(type="ping")
    assert device.count("left") == 1
