"""Where the embedded servers live, and what is said where they can't."""

import os
import shlex
from pathlib import Path

import pytest

from project import home, postgres, services
from project.errors import ServiceError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data directory of an ordinary user."""
    place = tmp_path / "d"
    place.mkdir()
    if os.geteuid() == 0:
        os.chown(place, 65_534, 65_534)  # root's own would have its home elsewhere
    return place


def test_a_directory_may_be_named_as_seen_from_here(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`LOCKSTEP_DATA=data`: PostgreSQL works in it, and would look for it inside."""
    monkeypatch.chdir(data.parent)
    assert home.prepare(Path(data.name)).directory == data


def test_a_directory_that_can_not_be_written_is_one_line_with_the_mend(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # as on a disk mounted for reading
    with pytest.raises(ServiceError, match=r"can't be written: run as user \d+.*LOCKSTEP_DATA"):
        home.prepare(data)


def test_a_lock_that_can_not_be_made_is_one_line(data: Path) -> None:
    (data / "users.lock").mkdir()
    with (
        pytest.raises(ServiceError, match=r"users\.lock: Is a directory\. Mend that"),
        services.use(data),
    ):
        pass


def test_the_psql_line_can_be_pasted_wherever_the_checkout_is(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "psql", lambda _: "/home/ann/my sites/.venv/bin/psql")
    program, address = shlex.split(services.locate(data).psql)
    assert program.endswith("my sites/.venv/bin/psql")
    assert address.startswith("postgres://")
