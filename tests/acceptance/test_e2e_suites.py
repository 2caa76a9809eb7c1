"""The end-to-end suites in their quick form on a whole server, and on one that is broken so that only they can see it."""

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
TIMES = ("T1 ", "T2 ", "T5 ", "T6 ", "T21 ")  # a busy machine may miss limits of time

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Runs a suite and returns its result."""

    def run(suite: str, *arguments: str) -> dict[str, Any]:
        file = tmp_path / "result.json"
        done = subprocess.run(
            [
                *(sys.executable, "manage.py", "perf", "e2e", suite, "--quick", "--quiet"),
                *("--seed", "1", "--runs", str(tmp_path / "runs"), "--json", str(file), *arguments),
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

    return run


def unmet(result: dict[str, Any]) -> set[str]:
    """What did not hold every time."""
    return {one["name"] for one in result["coverage"] if one["held"] < one["checked"]}


@pytest.mark.parametrize(
    "suite", ["message-flow", "delivery-confirmations", "concurrent-operations", "real-time"]
)
def test_a_whole_server_keeps_every_promise_of_the_suite(suite: str, run: Any) -> None:
    result = run(suite)
    assert set(result["anomalies"].values()) == {0}, result["witnesses"]
    assert unmet(result) == set()
    missed = [one["name"] for one in result["targets"] if one["passed"] is False]
    assert [name for name in missed if not name.startswith(TIMES)] == []
    problems = [one for one in result["problems"] if not one.startswith("the generator was")]
    assert problems == []


def test_a_server_that_tells_before_it_has_stored_is_called_invalid(run: Any) -> None:
    result = run("message-flow", "--sabotage", "early")
    assert result["verdict"] == "invalid"
    assert unmet(result) >= {
        "WebSocket, JSON: nobody was told before its commit",
        "nothing is promised before its commit",
        "a row could be read when its first device was told of it",
    }


def test_a_server_that_takes_what_it_wrote_for_delivered_is_called_invalid(run: Any) -> None:
    result = run("delivery-confirmations", "--sabotage", "eager")
    assert result["verdict"] == "invalid"
    assert result["anomalies"]["phantom receipt"] > 0
    assert "ticks count who has the message, and nobody else" in unmet(result)


def test_a_server_that_lets_two_changes_of_one_version_win_is_called_invalid(run: Any) -> None:
    result = run("concurrent-operations", "--sabotage", "overwrite", "--duration", "2")
    assert result["verdict"] == "invalid"
    assert "of all changes that are based on the same version exactly one is taken" in unmet(result)


def test_a_server_that_stalls_now_and_then_is_seen_by_its_latency(run: Any) -> None:
    result = run("real-time", "--sabotage", "late", "--duration", "2")
    assert result["verdict"] != "valid"  # unknown if the generator was late itself
    messages = next(one for one in result["steps"] if one["what"] == "messages")
    assert messages["p99_ms"] > 100
