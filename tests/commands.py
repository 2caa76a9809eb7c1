"""The project's commands as a user runs them: processes of their own, with nothing of the tests' servers."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXITS = {"valid": 0, "invalid": 1, "unknown": 2}

# A private environment starts from nothing: what the tests' own servers are must not leak in.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in {"DATABASE_URL", "REDIS_URL", "LOCKSTEP_DATA"}
}


def manage(
    *arguments: str, within_s: float = 100, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run one of manage.py's commands to its end."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )


def perf(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return manage("perf", *arguments, **environment)


def quick(group: str, scenario: str, directory: Path, *more: str) -> dict[str, Any]:
    """Run the quick form of a scenario; what it found, by its JSON."""
    file = directory / "result.json"
    done = manage(
        *("perf", group, scenario, "--quick", "--quiet", "--seed", "1", *more),
        *("--runs", str(directory / "runs"), "--json", str(file)),
        within_s=240,
    )
    assert file.exists(), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(file.read_text())
    assert done.returncode == EXITS[found["verdict"]], done.stdout
    return found
