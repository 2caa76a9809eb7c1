"""What belongs to a rig that lives is in use; what belongs to one that is gone is a leftover."""

import os
import tempfile
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from perf.rig import cleanup
from perf.rig.cleanup import CLAIM, Leftover, Rig


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for leftovers in a directory that no real run uses."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def names() -> list[str]:
    """The leftovers there; those of processes are of other runs of this machine."""
    found = [leftover.directory for leftover in cleanup.leftovers() if not leftover.processes]
    return [directory.name for directory in found]


def test_a_workplace_is_in_use_while_its_rig_lives_and_gone_afterwards() -> None:
    with cleanup.workplace() as directory:
        assert cleanup.in_use(directory)
        assert directory.name not in names()
    assert not directory.exists()


def test_a_directory_of_a_process_that_is_gone_is_a_leftover_even_if_its_number_came_round(
    tmp_path: Path,
) -> None:
    directory = tmp_path / f"{cleanup.PREFIX}old"
    directory.mkdir()
    before = psutil.Process().create_time() - 100
    claim = Rig(pid=os.getpid(), started=before)
    (directory / CLAIM).write_bytes(msgspec.json.encode(claim))
    assert names() == [directory.name]
    cleanup.remove(Leftover(directory=directory, processes=()))
    assert not directory.exists()


def test_a_directory_that_is_being_claimed_is_left_alone_for_a_minute(tmp_path: Path) -> None:
    directory = tmp_path / f"{cleanup.PREFIX}new"
    directory.mkdir()
    assert names() == []
    old = time.time() - 2 * cleanup.UNCLAIMED_S
    os.utime(directory, (old, old))
    assert names() == [directory.name]
