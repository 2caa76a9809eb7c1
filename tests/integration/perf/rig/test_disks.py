"""A small disk says ENOSPC when it is full, takes more when there is room, and is not left behind."""

import errno
import tempfile
from pathlib import Path

import pytest

from perf.rig import cleanup, disks
from perf.rig.cleanup import Leftover
from perf.rig.disks import FILLER, MOUNTS, Disk
from project.home import prepare

pytestmark = pytest.mark.skipif(bool(disks.why_not()), reason=disks.why_not())


def test_a_full_disk_refuses_what_it_takes_when_there_is_room(tmp_path: Path) -> None:
    disk = Disk(path=tmp_path / "small", size=1 << 20, uid=0, gid=0)
    disk.mount()
    try:
        assert disk.fill() > 0
        with pytest.raises(OSError, match="No space left") as caught:
            (disk.path / "more").write_bytes(b"x" * 8192)
        assert caught.value.errno == errno.ENOSPC
        disk.free()
        (disk.path / "more").write_bytes(b"x" * 8192)
    finally:
        disk.unmount()
    assert not disk.path.exists()


def test_a_run_without_room_for_its_claim_leaves_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(path=tmp_path / "small", size=1 << 20, uid=0, gid=0)
    disk.mount()
    try:
        disk.fill()
        monkeypatch.setattr(tempfile, "tempdir", str(disk.path))
        with pytest.raises(OSError, match="No space left"), cleanup.workplace():
            raise AssertionError("it was claimed")
        assert [one.name for one in disk.path.iterdir()] == [FILLER]
    finally:
        disk.unmount()


def test_what_a_killed_run_left_mounted_is_found_by_its_directory(tmp_path: Path) -> None:
    mine, others = (
        Disk(path=tmp_path / name / "small", size=1 << 20, uid=0, gid=0) for name in ("a", "b")
    )
    for disk in (mine, others):
        disk.path.parent.mkdir()
        disk.mount()
    try:
        disks.forget(tmp_path / "a")
        mounted = MOUNTS.read_text()
        assert str(mine.path) not in mounted
        assert str(others.path) in mounted
    finally:
        others.unmount()


@pytest.mark.slow
def test_cleanup_unmounts_the_disk_of_a_run_whose_keeper_was_killed_too(tmp_path: Path) -> None:
    directory = tmp_path / f"{cleanup.PREFIX}killed"
    directory.mkdir()
    home = prepare(directory).directory
    disk = Disk(path=home / "small", size=1 << 20, uid=0, gid=0)
    disk.mount()
    try:
        cleanup.remove(Leftover(directory=directory, processes=()))
        assert str(disk.path) not in MOUNTS.read_text()
        assert not home.exists()
        assert not directory.exists()
    finally:
        disks.forget(home)
