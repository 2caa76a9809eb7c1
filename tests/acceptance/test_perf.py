"""`manage.py perf`: the commands themselves, with real services, sockets and devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from project import services

ROOT = Path(__file__).resolve().parents[2]

# A private environment starts from nothing: what the tests' own servers are must not leak in.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in {"DATABASE_URL", "REDIS_URL", "LOCKSTEP_DATA"}
}


def perf(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return manage("perf", *arguments, **environment)


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.slow
def test_a_quick_baseline_measures_every_target_and_finds_no_anomaly(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    done = perf("baseline", "--quick", "--quiet", "--seed", "1", "--json", str(file))
    assert done.returncode in {0, 1, 2}, done.stderr
    result = json.loads(file.read_text())
    # A busy machine may miss a limit of time, or make the generator late, which it says then;
    # that something else was not measured is a fault.
    late = [one for one in result["problems"] if one.startswith("the generator was the bottleneck")]
    missing = [target for target in result["targets"] if target["measured"] is None]
    assert all("generator was the bottleneck" in target["source"] for target in missing)
    assert set(result["anomalies"].values()) == {0}
    assert result["problems"] == late
    assert result["figures"]["checked"]["deliveries"] > 1_000
    assert "once more: manage.py perf baseline" in done.stdout


@pytest.mark.slow
def test_health_names_what_is_missing_and_is_content_once_it_is_mended(tmp_path: Path) -> None:
    place = {"LOCKSTEP_DATA": str(tmp_path)}
    try:
        with services.use(tmp_path):  # so that the three commands share one start
            missing = perf("health", "--quiet", **place)
            assert missing.returncode == 1, missing.stderr
            assert "run `manage.py migrate`" in missing.stdout
            assert manage("migrate", "-v0", **place).returncode == 0
            healthy = perf("health", "--quiet", **place)
            assert healthy.returncode == 0, healthy.stdout + healthy.stderr
            assert "a message reaches another device" in healthy.stdout
    finally:
        services.stop(tmp_path, delete=True)


def test_a_server_that_is_not_there_is_said_in_one_line() -> None:
    done = perf("baseline", "--url", "http://127.0.0.1:1", "--accounts", "/nonexistent.jsonl")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: --accounts /nonexistent.jsonl")
