"""What a supervisor finds of others."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from project import supervisor
from project.errors import ServiceError


def test_counters_of_supervisors_that_were_killed_are_removed_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    names = {
        f"{supervisor.COUNTERS}{ended.pid}-a": False,
        f"{supervisor.COUNTERS}{os.getpid()}-b": True,
        f"{supervisor.COUNTERS}x-c": True,
        "somebody-else": True,
    }
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "counter.db").write_bytes(b"1")
    supervisor.clear_counters()
    assert {name: (tmp_path / name).exists() for name in names} == names


def test_a_machine_without_a_temporary_directory_is_told_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A container whose file system is read-only, or a full disk."""
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    with pytest.raises(ServiceError, match=r"No temporary directory.*set TMPDIR"):
        supervisor.supervise(
            server="uvicorn", host="127.0.0.1", port=1, processes=1, ready=lambda: None
        )
