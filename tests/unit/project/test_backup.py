"""A backup has its name only when all of it would survive a loss of power."""

import os
from pathlib import Path

import pytest

from project.management.commands.backup import publish


def test_the_disk_has_all_of_a_backup_before_its_name_and_then_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, directory = tmp_path / "monday.unfinished", tmp_path / "monday"
    content = draft / "files" / "5e" / "5e5e"
    content.parent.mkdir(parents=True)
    for file in (draft / "database.dump", content):
        file.write_text("rows")
    expected = {path.stat().st_ino for path in (draft, *draft.rglob("*"))}
    before, after, fsync = set[int](), set[int](), os.fsync

    def noted(descriptor: int) -> None:
        (after if directory.exists() else before).add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    publish(draft, directory)
    assert before == expected
    assert after == {tmp_path.stat().st_ino}
    assert (directory / "files" / "5e" / "5e5e").read_text() == "rows"
