"""The stress scenarios in their quick form, each with a whole environment of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

TOO_BUSY = ("the generator was", "no rate was held")  # how a result says that time was short

# A private environment starts from nothing: what the tests' own servers are must not leak in.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in {"DATABASE_URL", "REDIS_URL", "LOCKSTEP_DATA"}
}


def stress(scenario: str, directory: Path) -> dict[str, Any]:
    """Run a scenario and return its result."""
    file = directory / "result.json"
    done = subprocess.run(
        [
            *(sys.executable, "manage.py", "perf", "stress", scenario, "--quick", "--quiet"),
            *("--seed", "1", "--runs", str(directory / "runs"), "--json", str(file)),
        ],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert file.exists(), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.mark.long
@pytest.mark.timeout(300)  # a quarter of a minute each, but password hashes wait for a busy machine
@pytest.mark.parametrize("scenario", ["connections", "queues", "database", "api"])
def test_a_quick_form_finds_no_anomaly_and_tests_what_it_has_to(
    scenario: str, tmp_path: Path
) -> None:
    result = stress(scenario, tmp_path)
    # A busy machine may miss limits of time; what is wrong or was not tested at all is a fault.
    assert set(result["anomalies"].values()) == {0}, result["witnesses"]
    unmet = [
        one
        for one in result["coverage"]
        if not one["held"] or (one["kind"] == "always" and one["held"] < one["checked"])
    ]
    assert unmet == []
    faults = [one for one in result["problems"] if not one.startswith(TOO_BUSY)]
    assert faults == []
    assert result["limiting"]
