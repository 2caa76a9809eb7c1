"""A server is found again by its pid file, and nobody else's is taken for it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from project import daemons
from project.home import Home


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


def test_what_a_server_says_is_for_its_owner_alone(tmp_path: Path) -> None:
    """PostgreSQL's log quotes rows and statements, and with them what people wrote."""
    home = Home(directory=tmp_path, sockets=tmp_path, uid=os.geteuid(), gid=os.getegid())
    log, before = tmp_path / "server.log", os.umask(0o022)
    try:
        daemons.spawn("server", home, ["true"], log=log, dead=())
    finally:
        os.umask(before)
    assert log.stat().st_mode & 0o077 == 0
