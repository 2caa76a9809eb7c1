"""A server is found again by its pid file, and nobody else's is taken for it."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from project import daemons


@pytest.fixture
def other(tmp_path: Path) -> Iterator[int]:
    """A process that is called as PostgreSQL's are, and works in a directory of its own."""
    program = tmp_path / "postgres"
    shutil.copy(shutil.which("sleep") or "sleep", program)
    (tmp_path / "theirs").mkdir()
    with subprocess.Popen([program, "60"], cwd=tmp_path / "theirs") as process:
        yield process.pid
        process.kill()


def test_a_server_of_another_directory_that_has_the_number_of_ours_is_not_ours(
    tmp_path: Path, other: int
) -> None:
    """After a restart of the machine the numbers are others': ours was waited for a minute, and never started."""
    pid_file = tmp_path / "postmaster.pid"
    pid_file.write_text(f"{other}\n")
    (tmp_path / "ours").mkdir()
    assert daemons.find(pid_file, "postgres", at=tmp_path / "ours") is None
    assert daemons.find(pid_file, "postgres", at=tmp_path / "theirs") == other
    assert daemons.find(pid_file, "valkey-server", at=tmp_path / "theirs") is None
