"""What a backup is made of, and where it can be restored."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings

from messaging.files.contents import place_of, storage
from project import services
from tests import scene

ROOT = Path(__file__).resolve().parents[3]
# `manage.py`, with the tools of the servers that it is told of.
COMMAND = (
    "import sys; from django.core.management import execute_from_command_line as run; run(sys.argv)"
)


@pytest.mark.usefixtures("transactional_db")
def test_a_database_without_tables_is_not_backed_up(tmp_path: Path) -> None:
    """A timer that knows no DATABASE_URL would keep nothing, night after night, and call it done."""
    place = tmp_path / "monday"
    with connection.cursor() as cursor:
        cursor.execute("SET search_path TO nowhere")
        try:
            with pytest.raises(CommandError, match=r"nothing to back up.*DATABASE_URL"):
                call_command("backup", str(place))
        finally:
            cursor.execute("RESET search_path")
    assert list(tmp_path.iterdir()) == []


class Bucket(FileSystemStorage):
    """A storage behind a network that goes down while it is read. Its errors are of a kind of their own, as those of S3."""

    def _open(self, *_: Any) -> Any:
        raise RuntimeError("no route to the bucket")


@pytest.fixture
def uploaded(
    tmp_path: Path, services_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A storage with one content, and the row that names it."""
    monkeypatch.setenv(services.IN_USE, str(services_directory))
    with files_in(tmp_path / "files"), scene.connect() as sql:
        place = storage().save(place_of("5e" * 32), ContentFile(b"plan"))
        sql.execute(UPLOAD, [scene.new_room(sql).first.device, place, "5e" * 32])
        yield tmp_path / "files"


def files_in(place: Path, backend: type = FileSystemStorage) -> override_settings:
    own = {"BACKEND": f"{backend.__module__}.{backend.__name__}", "OPTIONS": {"location": place}}
    return override_settings(STORAGES=settings.STORAGES | {"files": own})


UPLOAD = "INSERT INTO messaging_attachment (device_id, file, sha256) VALUES (%s, %s, %s)"


@pytest.mark.usefixtures("transactional_db", "uploaded")
def test_a_storage_that_has_none_of_the_contents_is_not_backed_up(tmp_path: Path) -> None:
    """A timer that knows DATABASE_URL and no LOCKSTEP_DATA kept no file, night after night, and called it done."""
    place = tmp_path / "monday"
    with (
        files_in(tmp_path / "nowhere"),
        pytest.raises(CommandError, match=r"none of the 1 contents.*LOCKSTEP_DATA"),
    ):
        call_command("backup", str(place))
    assert not place.exists()


@pytest.mark.usefixtures("transactional_db")
def test_a_content_that_can_not_be_read_is_told_in_a_line(tmp_path: Path, uploaded: Path) -> None:
    """It was a stack trace, or blamed the place of the backup."""
    place = tmp_path / "monday"
    with (
        files_in(uploaded, Bucket),
        pytest.raises(
            CommandError, match=r"^the storage of files failed: no route to the bucket\.$"
        ),
    ):
        call_command("backup", str(place))
    content = uploaded / place_of("5e" * 32)
    content.unlink()
    content.symlink_to(content)
    with pytest.raises(CommandError, match=rf"^{content}: Too many levels of symbolic links\.$"):
        call_command("backup", str(place))
    assert not place.exists()


@pytest.fixture
def elsewhere(database_url: str) -> Iterator[str]:
    """An empty database, and the role that owns it and may do nothing else."""
    with psycopg.connect(database_url, autocommit=True) as sql:
        sql.execute("CREATE ROLE ann LOGIN PASSWORD 'ann'")
        sql.execute("CREATE DATABASE elsewhere OWNER ann TEMPLATE template0")
        own = urlsplit(database_url)
        host = own.netloc.rpartition("@")[2]
        yield own._replace(netloc=f"ann:ann@{host}", path="/elsewhere").geturl()
        sql.execute("DROP DATABASE elsewhere WITH (FORCE)")
        sql.execute("DROP ROLE ann")


def restore(directory: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", COMMAND, "restore", str(directory)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "project.settings"} | environment,
    )  # fmt: skip


@pytest.mark.slow
def test_a_content_that_can_not_be_restored_is_told_in_a_line(
    tmp_path: Path, elsewhere: str
) -> None:
    content = tmp_path / "monday/files" / place_of("5e" * 32)
    content.parent.mkdir(parents=True)
    content.write_bytes(b"plan")
    (tmp_path / "monday/database.dump").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/files").touch()  # where a directory has to be
    told = restore(
        tmp_path / "monday", DATABASE_URL=elsewhere, LOCKSTEP_DATA=str(tmp_path / "data")
    )
    assert told.returncode != 0
    assert re.fullmatch(r"CommandError: .*Not a directory\. .*run it again\.\n", told.stderr), (
        told.stderr
    )


@pytest.mark.slow
@pytest.mark.usefixtures("transactional_db")
def test_a_backup_is_restored_by_the_owner_of_a_database_elsewhere(
    tmp_path: Path, services_directory: Path, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the built-in PostgreSQL to one's own: another role, which is no superuser, and none of the old ones."""
    monkeypatch.setenv(services.IN_USE, str(services_directory))
    with scene.connect() as sql:
        room = scene.new_room(sql)
        scene.insert(sql, room.id, "kept")
        sql.execute("CREATE ROLE reader")
        sql.execute("GRANT SELECT ON messaging_message TO reader")
        try:
            call_command("backup", str(tmp_path / "monday"))
        finally:
            sql.execute("DROP OWNED BY reader")
            sql.execute("DROP ROLE reader")
    restored = restore(tmp_path / "monday", DATABASE_URL=elsewhere)
    assert restored.returncode == 0, restored.stderr
    with psycopg.connect(elsewhere) as there:
        assert scene.bodies(there, room.id) == ["kept"]
        owners = there.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
        )
        assert owners.fetchall() == [("ann",)]
