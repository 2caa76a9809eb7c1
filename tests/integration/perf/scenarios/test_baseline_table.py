"""The baseline's table says what it does not know."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from perf.load.generator import Generator
from perf.load.probe import DatabaseProbe
from perf.rig.database import connected
from perf.scenarios import baseline_table
from tests import scene
from tests.scene import Psql

pytestmark = pytest.mark.django_db
END = "SELECT pg_terminate_backend(%s)"


async def test_the_time_of_a_database_that_no_longer_answers_is_not_known(sql: Psql) -> None:
    """What came before is no measurement of the time in which it was away."""
    room = scene.new_room(sql)
    async with connected(scene.database_url()) as connection:
        probe = DatabaseProbe(connection, conversations=[room.id], devices=[room.first.device])
        asking = asyncio.create_task(probe.run())
        while not probe.latency.count:  # noqa: ASYNC110 - a probe tells nobody
            await asyncio.sleep(0.01)
        sql.execute(END, [connection.info.backend_pid])
        async with asyncio.timeout(10):
            await asking
    it = SimpleNamespace(probe=probe, before={}, after={}, generator=Generator())
    found = baseline_table._database_time(cast("Any", it))
    assert (found.measured, found.passed) == (None, None)
    assert found.source.startswith("the rig's own connection ended: ")
