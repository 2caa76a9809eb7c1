"""Real servers that are broken on purpose are convicted of what they do, a whole one of nothing."""

import pytest

from perf.fixtures import environment_proc, stage_in
from perf.rig.environment import Crowd
from perf.sabotage import ALL, Sabotage
from perf.scenario import Stage
from perf.scenarios import sabotaged
from perf.scenarios.parts.workout import CROWD

crowd = Crowd(conversations=len(ALL) + 1, members=CROWD.members, devices=CROWD.devices)
place = environment_proc(crowd=crowd)
stage = stage_in("place")


@pytest.mark.slow
async def test_a_whole_server_is_acquitted_and_everything_was_tried(stage: Stage) -> None:
    *_, accounts = sabotaged.by_conversation(stage.environment.accounts)
    attempt = await sabotaged.attempt(stage, None, accounts)
    assert attempt.caught, attempt.sentence


@pytest.mark.long
@pytest.mark.parametrize("sabotage", ALL, ids=lambda one: one.name)
async def test_a_broken_server_is_convicted_of_what_it_does(
    stage: Stage, sabotage: Sabotage
) -> None:
    groups = sabotaged.by_conversation(stage.environment.accounts)
    attempt = await sabotaged.attempt(stage, sabotage, groups[ALL.index(sabotage)])
    assert attempt.caught, attempt.sentence
    assert attempt.witness
