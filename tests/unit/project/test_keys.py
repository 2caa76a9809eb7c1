"""The secret key is made once and stays private."""

import os
from pathlib import Path

import pytest

from project.errors import ServiceError
from project.keys import secret_key


def test_the_key_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret_key"
    key = secret_key(path)
    assert len(key) >= 50
    assert secret_key(path) == key
    assert [file.name for file in path.parent.iterdir()] == ["secret_key"]


def test_only_its_owner_can_read_the_key(tmp_path: Path) -> None:
    path = tmp_path / "secret_key"
    secret_key(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_two_installations_have_different_keys(tmp_path: Path) -> None:
    assert secret_key(tmp_path / "one") != secret_key(tmp_path / "two")


def test_a_key_that_was_lost_is_one_line_and_no_failure_at_the_first_log_in(
    tmp_path: Path,
) -> None:
    path = tmp_path / "secret_key"
    path.touch()
    with pytest.raises(ServiceError, match="is empty: remove it"):
        secret_key(path)


def test_a_disk_without_room_for_the_key_keeps_no_half_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ServiceError, match="No space left"):
        secret_key(tmp_path / "secret_key")
    assert list(tmp_path.iterdir()) == []
