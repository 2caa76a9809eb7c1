"""`manage.py perf`: the commands themselves, with real services, sockets and devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A private environment starts from nothing: what the tests' own servers are must not leak in.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in {"DATABASE_URL", "REDIS_URL", "LOCKSTEP_DATA"}
}


def perf(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "perf", *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.slow
def test_a_quick_baseline_measures_every_target_and_finds_no_anomaly(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    done = perf("baseline", "--quick", "--quiet", "--seed", "1", "--json", str(file))
    # A busy machine may miss a limit of time (1); that something was not measured (2) is a fault.
    assert done.returncode in {0, 1}, done.stderr
    result = json.loads(file.read_text())
    assert [target["name"] for target in result["targets"] if target["measured"] is None] == []
    assert set(result["anomalies"].values()) == {0}
    assert result["problems"] == []
    assert result["figures"]["checked"]["deliveries"] > 1_000
    assert "once more: manage.py perf baseline" in done.stdout


def test_a_server_that_is_not_there_is_said_in_one_line() -> None:
    done = perf("baseline", "--url", "http://127.0.0.1:1", "--accounts", "/nonexistent.jsonl")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: --accounts /nonexistent.jsonl")
