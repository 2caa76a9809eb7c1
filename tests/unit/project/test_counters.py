"""Where the processes of a server count: in files of their own that a full disk can't take from them."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict

from project import counters
from project.errors import ServiceError


def test_counters_of_supervisors_that_were_killed_are_removed_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    names = {
        f"{counters.PREFIX}{ended.pid}-a": False,
        f"{counters.PREFIX}{os.getpid()}-b": True,
        f"{counters.PREFIX}x-c": True,
        "somebody-else": True,
    }
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "counter.db").write_bytes(b"1")
    counters.clear()
    assert {name: (tmp_path / name).exists() for name in names} == names


def test_a_machine_without_a_temporary_directory_is_told_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A container whose file system is read-only, or a full disk."""
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    with pytest.raises(ServiceError, match=r"No temporary directory.*set TMPDIR"):
        counters.directory()


def test_a_process_has_every_block_of_its_files_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(counters.VARIABLE, str(tmp_path))
    counters.reserve()
    for kind in counters.KINDS:
        status = (tmp_path / f"{kind}_{os.getpid()}.db").stat()
        assert status.st_blocks * 512 >= status.st_size == counters.FILE_BYTES


def test_what_a_process_counted_stays_when_it_has_ended_and_takes_little_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may get its number, and goes on counting there."""
    monkeypatch.setenv(counters.VARIABLE, str(tmp_path))
    counters.reserve()
    counter = tmp_path / f"counter_{os.getpid()}.db"
    counted = MmapedDict(str(counter))
    counted.write_value("hellos", 7.0, 0.0)
    counted.close()
    counters.forget(os.getpid(), str(tmp_path))
    assert {file.name.partition("_")[0] for file in tmp_path.iterdir()} == {"counter", "histogram"}
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 100
    assert [value for _, value, *_ in MmapedDict.read_all_values_from_file(str(counter))] == [7.0]
    counters.reserve()
    assert counter.stat().st_size == counters.FILE_BYTES
    again = MmapedDict(str(counter))
    assert again.read_value("hellos") == (7.0, 0.0)
    again.close()


def test_a_process_without_room_for_its_files_counts_for_itself_and_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(counters.VARIABLE, str(tmp_path / "gone"))
    counters.reserve()
    assert counters.VARIABLE not in os.environ
    assert "tells of itself alone" in caplog.text
