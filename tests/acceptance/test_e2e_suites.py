"""The end-to-end suites in their quick form on a whole server, and on one that is broken so that only they can see it."""

from pathlib import Path
from typing import Any

import pytest

from tests.commands import quick

TIMES = ("T1 ", "T2 ", "T5 ", "T6 ", "T21 ")  # a busy machine may miss limits of time

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Runs a suite and returns its result."""
    return lambda suite, *more: quick("e2e", suite, tmp_path, *more)


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
