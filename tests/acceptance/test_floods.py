"""`manage.py perf stress …-flood`, quick: real services, strangers, abusers and foreign programs."""

import json
from pathlib import Path

import pytest

from tests.acceptance.test_perf import perf_here
from tests.commands import perf

FLOODS = {
    "connection-flood": "a mute stranger is closed with 4000 after a goodbye, or turned away",
    "reconnect-storm": "who was cut off came back",
    "message-flood": "a body beyond it was refused as too_large, and the session went on",
    "database-flood": "all connections of the database were taken by others",
    "memory-pressure": "after a cycle no socket, descriptor, thread, task, group, row or backend was left",
}


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", FLOODS)
def test_a_quick_flood_is_survived_and_what_it_was_meant_to_bring_about_came(
    scenario: str, tmp_path: Path
) -> None:
    file = tmp_path / "result.json"
    done = perf("stress", scenario, "--quick", "--quiet", "--seed", "1", "--json", str(file))
    result = json.loads(file.read_text())
    # A busy machine may miss a limit of time or send late; that something was lost, or not tried, is a fault.
    assert set(result["anomalies"].values()) == {0}
    assert [one for one in result["problems"] if "the generator" not in one] == [], done.stdout
    covered = {one["name"]: one for one in result["coverage"]}
    assert covered[FLOODS[scenario]]["held"] > 0


@pytest.mark.parametrize("scenario", FLOODS)
def test_the_plan_of_a_flood_says_what_it_will_cost(scenario: str) -> None:
    done = perf_here("stress", scenario, "--dry-run", "--seed", "1")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["seconds"] > 0
    assert plan["devices"] > 100
