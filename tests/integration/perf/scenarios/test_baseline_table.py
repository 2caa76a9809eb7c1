"""The baseline's table says what it does not know."""

import asyncio
import dataclasses
from types import SimpleNamespace
from typing import Any, cast

import pytest

from perf.fixtures import environment_proc, stage_in
from perf.load.generator import Generator
from perf.load.probe import DatabaseProbe
from perf.rig.database import connected
from perf.scenario import Options, Stage
from perf.scenarios import baseline, baseline_table
from tests import scene
from tests.scene import Psql

END = "SELECT pg_terminate_backend(%s)"
END_PROBE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE application_name = 'lockstep perf' AND query LIKE 'SELECT id, user_id, revoked FROM presence_device %'
"""

SMALL = Options(seed=1, quick=True, devices=10)
place = environment_proc(crowd=baseline.crowd(SMALL))
stage = stage_in("place")


@pytest.mark.django_db
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


@pytest.mark.long
async def test_a_run_that_loses_the_connection_of_its_probe_has_a_verdict_all_the_same(
    stage: Stage,
) -> None:
    assert stage.environment.database_url is not None
    options = dataclasses.replace(SMALL, runs=stage.options.runs)
    async with connected(stage.environment.database_url) as other:
        running = asyncio.create_task(baseline.run(dataclasses.replace(stage, options=options)))
        ended = 0
        while not ended and not running.done():
            row = await (await other.execute(END_PROBE)).fetchone()
            ended = row[0] if row is not None else 0
        found = await running
    (why,) = [one for one in found.problems if "T3" in one]
    assert why.startswith("the rig's own connection to the database ended, so T3 is not known: ")
    assert [one.measured for one in found.outcomes if one.name.startswith("T3")] == [None]
