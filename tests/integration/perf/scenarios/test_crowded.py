"""More devices than one process may have: others carry them, and everything is judged as one run."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from perf.load.fleet import RESERVE
from perf.rig.children import ROOT
from tests.commands import ENVIRONMENT

FILES = (
    RESERVE + 100
)  # so that this process has the first 80 devices of 200: the next stair, to 120, has no room


def few_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))


@pytest.mark.long
@pytest.mark.timeout(300)  # ten seconds, but of a machine that others use, too
def test_connections_beyond_the_file_limit_of_a_process_are_held_by_another(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    command = [
        *(sys.executable, "manage.py", "perf", "stress", "connections", "--quick", "--quiet"),
        *("--devices", "200", "--processes", "2", "--seed", "1"),
        *("--runs", str(tmp_path / "runs"), "--json", str(file)),
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=few_files,
    )
    assert file.exists(), done.stdout + done.stderr
    result = json.loads(file.read_text())
    assert result["figures"]["connections_held"] == 200
    assert result["figures"]["connections_of_the_crew"] == 120
    assert result["figures"]["generator_processes"] == 2
    assert set(result["anomalies"].values()) == {0}, result["witnesses"]
    assert [one for one in result["problems"] if "the generator was" not in one] == []
    met = {one["name"]: one["held"] for one in result["coverage"]}
    assert met["several workers"]
    assert met["every session leaves traces while it lasts"] == 2
    assert {path.name for path in (tmp_path / "runs" / "latest" / "history").iterdir()} == {
        "0.jsonl",
        "1.jsonl",
    }
