"""What a backup is made of, and where it can be restored."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

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
    restored = subprocess.run(
        [sys.executable, "-c", COMMAND, "restore", str(tmp_path / "monday")],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"DATABASE_URL": elsewhere, "DJANGO_SETTINGS_MODULE": "project.settings"},
    )  # fmt: skip
    assert restored.returncode == 0, restored.stderr
    with psycopg.connect(elsewhere) as there:
        assert scene.bodies(there, room.id) == ["kept"]
        owners = there.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
        )
        assert owners.fetchall() == [("ann",)]
