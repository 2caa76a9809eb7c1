"""The end-to-end scenarios in their quick form, each with a whole environment of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A private environment starts from nothing: what the tests' own servers are must not leak in.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in {"DATABASE_URL", "REDIS_URL", "LOCKSTEP_DATA"}
}


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", ["presence", "multi-device"])
def test_what_users_do_across_devices_is_done_and_nothing_else(
    scenario: str, tmp_path: Path
) -> None:
    file = tmp_path / "result.json"
    done = subprocess.run(
        [
            *(sys.executable, "manage.py", "perf", "e2e", scenario, "--quick", "--quiet"),
            *("--seed", "1", "--runs", str(tmp_path / "runs"), "--json", str(file)),
        ],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert file.exists(), done.stdout + done.stderr
    result: dict[str, Any] = json.loads(file.read_text())
    assert set(result["anomalies"].values()) == {0}, result["witnesses"]
    unmet = [one for one in result["coverage"] if one["held"] < one["checked"]]
    assert unmet == []
    # A busy machine may miss limits of time; that something did not come at all is a fault.
    assert [one for one in result["problems"] if not one.startswith("the generator was")] == []
