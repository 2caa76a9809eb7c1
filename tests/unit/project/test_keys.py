"""The secret key is made once and stays private."""

from pathlib import Path

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
