"""Users' journeys and a team's day in their quick form; a soak that is interrupted; a day on a broken server."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perf.scenarios import production
from tests.commands import ENVIRONMENT, ROOT, quick

# A busy machine may miss limits of time, and its server may say that it can't do more (4002, 4007).
BUSY = re.compile(
    r"(day \d+: )?(the generator was|after 30 s|interrupted after|\d+ connections were lost with code 400[27]$"
    r"|device \d+ of person \d+ did not get in)"
)


def untrue(result: dict[str, Any]) -> list[str]:
    """What is wrong however busy the machine is."""
    return [one for one in result["problems"] if not BUSY.match(one)]


def equality(result: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in result["targets"] if one["name"].startswith("E1"))
    return found


@pytest.mark.long
@pytest.mark.timeout(300)
def test_users_live_through_a_day_with_a_deploy_and_every_device_has_what_is_stored(
    tmp_path: Path,
) -> None:
    result = quick("e2e", "production-scenarios", tmp_path)
    assert set(result["anomalies"].values()) == {0}, result["witnesses"]
    assert untrue(result) == []
    assert equality(result)["passed"], equality(result)["source"]
    happened = result["figures"]["happened"]
    assert happened["replaced processes"] == production.PROCESSES
    assert {"send", "edit", "delete", "read", "file", "join", "leave", "link", "revoke"} <= set(happened)  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_soak_that_is_interrupted_reports_the_days_that_were_whole(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    soak = subprocess.Popen(
        [
            *(sys.executable, "manage.py", "perf", "soak", "--quick", "--seed", "1"),
            *("--runs", str(tmp_path / "runs"), "--json", str(file)),
        ],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert soak.stderr is not None
    with soak.stderr:
        said = next(line for line in soak.stderr if "day 1:" in line or "error" in line)
        soak.send_signal(signal.SIGINT)
        rest = soak.stderr.read()
    assert soak.wait(timeout=120) == 2, said + rest
    result = json.loads(file.read_text())
    assert "day 1: well" in said, result["problems"]
    assert (result["figures"]["days"], result["verdict"]) == (1, "unknown")
    assert set(result["anomalies"].values()) == {0}, result["witnesses"]
    assert untrue(result) == []
    assert equality(result)["passed"], equality(result)["source"]
    # What was judged is gone; what was not is there to be looked at.
    (run,) = (tmp_path / "runs" / "soak").iterdir()
    assert [one.name for one in (run / "days").iterdir()] in ([], ["00002"])


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_server_that_leaves_out_deliveries_is_found_by_the_judge_and_by_comparison(
    tmp_path: Path,
) -> None:
    result = quick("e2e", "production-scenarios", tmp_path, "--sabotage", "drop")
    assert result["verdict"] == "invalid"
    assert result["anomalies"]["lost"] > 0
    assert equality(result)["passed"] is False
    assert "missing" in equality(result)["source"]
