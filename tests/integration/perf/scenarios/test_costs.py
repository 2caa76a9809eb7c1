"""What a message costs, counted on a real server: little, and hardly different from run to run."""

import pytest

from perf.fixtures import environment_proc, stage_in
from perf.load.fleet import Fleet
from perf.load.observer import Observer
from perf.rig.environment import Crowd
from perf.scenario import Stage
from perf.scenarios.parts import costs

place = environment_proc(crowd=Crowd(conversations=1, members=3))
stage = stage_in("place")


@pytest.mark.slow
async def test_a_message_costs_few_statements_commands_and_bytes(stage: Stage) -> None:
    environment = stage.environment
    fleet = Fleet(url=environment.url, recorder=stage.recorder, observer=Observer())
    await fleet.connect(environment.accounts, starts={})
    found = {row.what: row for row in await costs.measure(environment, fleet, quick=True)}
    fleet.disconnect()
    assert 1 <= found["SQL statements"].each < 10
    assert found["WAL bytes"].each > 100
    assert found["Valkey commands"].each < 10  # hardly any: nobody else hears them
    assert found["bytes on the wire"].per == "delivery"
    assert (
        100 < found["bytes on the wire"].each < 2000
    )  # the text alone is 100; acks and marks are most of it
