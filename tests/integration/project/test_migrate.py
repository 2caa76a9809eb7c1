"""However many processes migrate one database, one of them does it, and the others say that they wait."""

import contextlib
import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from project import daemons
from project.management.commands.migrate import HOLDER, KEY, LOCK_MS
from tests import scene
from tests.frozen import frozen

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 60
WAITS = "Another process migrates this database"


class Said(io.StringIO):
    """What a command writes, and the moment of its first word."""

    def __init__(self) -> None:
        super().__init__()
        self.something = threading.Event()

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        finally:
            self.something.set()


def test_a_migrate_that_finds_another_says_so_in_one_line_and_waits_for_it(
    transactional_db: None,
) -> None:
    said, done = Said(), threading.Event()

    def migrate() -> None:
        try:
            call_command("migrate", verbosity=0, stderr=said)
        finally:
            connections["default"].close()
            done.set()

    with scene.connect() as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [KEY])
        waiting = threading.Thread(target=migrate)
        waiting.start()
        assert said.something.wait(PATIENCE_S)
        assert not done.is_set()
        pid = holder.info.backend_pid
    waiting.join(PATIENCE_S)
    assert done.is_set()
    assert said.getvalue().splitlines() == [
        f"{WAITS} (PostgreSQL's session {pid}); waiting for its end."
    ]


@pytest.mark.usefixtures("transactional_db")
def test_a_look_at_the_plan_waits_for_nobody() -> None:
    with scene.connect() as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [KEY])
        call_command("migrate", plan=True, stdout=io.StringIO())


@pytest.mark.usefixtures("transactional_db")
def test_a_user_who_may_not_change_the_tables_is_told_so_in_one_line() -> None:
    """As with PostgreSQL 15 and later, whose databases have no tables but their owner's."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SET ROLE pg_monitor")
        try:
            with pytest.raises(CommandError, match="Make it the owner") as refused:
                call_command("migrate", verbosity=0)
        finally:
            cursor.execute("RESET ROLE")
    assert str(refused.value).startswith("permission denied for table django_migrations: user ")
    assert "\n" not in str(refused.value)


class Empty:
    """A database without tables, in which nobody gets further than the first table until `release`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._block = psycopg.connect(url)
        self._block.execute("CREATE TABLE django_migrations ()")
        self.sql = psycopg.connect(url, autocommit=True)

    def start(self, *command: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": self.url, "DEBUG": "0"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def holder(self) -> int:
        """The session that migrates, once there is one."""
        for _ in daemons.pauses(PATIENCE_S):
            if (row := self.sql.execute(HOLDER, [KEY]).fetchone()) is not None:
                return int(row[0])
        raise AssertionError("nobody migrates")

    def await_waiting(self) -> None:
        """Return once somebody waits for a table."""
        for _ in daemons.pauses(PATIENCE_S):
            if self.sql.execute(
                "SELECT 1 FROM pg_locks WHERE NOT granted AND relation > 0"
            ).fetchone():
                return
        raise AssertionError("nobody waits")

    def release(self) -> None:
        self._block.rollback()

    def applied(self) -> int:
        row = self.sql.execute(
            "SELECT count(*), count(DISTINCT (app, name)) FROM django_migrations"
        )
        total, different = row.fetchone() or (0, 0)
        assert total == different
        return int(total)

    def close(self) -> None:
        self._block.close()
        self.sql.close()


@pytest.fixture
def empty(database_url: str, redis_url: str) -> Iterator[Empty]:
    url = re.sub(r"/[^/?]+(?=\?|$)", "/migrate_test", database_url, count=1)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE migrate_test TEMPLATE template0")
        with contextlib.closing(Empty(url)) as made:
            yield made
        connection.execute("DROP DATABASE migrate_test WITH (FORCE)")


def wait_of(process: "subprocess.Popen[str]") -> str:
    """Its line about the other, behind what system checks say of a database that does not wait for the disk."""
    assert process.stderr is not None
    return next(line for line in process.stderr if line.startswith(WAITS))


@pytest.mark.long
def test_of_two_serves_and_a_migrate_at_once_exactly_one_migrates_and_the_others_wait(
    empty: Empty,
) -> None:
    first = empty.start("serve", "-v", "2", "--processes", "1")
    processes = [first]
    try:
        holder = empty.holder()
        second = empty.start("serve", "-v", "2", "--processes", "1")
        migrate = empty.start("migrate")
        processes += [second, migrate]
        for waiting in (second, migrate):
            assert str(holder) in wait_of(waiting)
        empty.release()
        assert "Applying messaging.0001" in _until_served(first)
        assert "Applying" not in _until_served(second)
        assert "Applying" not in migrate.communicate(timeout=PATIENCE_S)[0]
        assert migrate.returncode == 0
        assert empty.applied() > 20
    finally:
        for each in processes:
            each.terminate()
            each.communicate(timeout=PATIENCE_S)


@pytest.mark.long
def test_the_end_of_a_killed_migrate_is_waited_for_and_then_the_next_does_it(empty: Empty) -> None:
    """Its session is still at work: nobody may begin before that one can commit no more."""
    killed = empty.start("migrate")
    holder = empty.holder()
    next_one = empty.start("migrate")
    assert str(holder) in wait_of(next_one)
    with frozen(holder):
        killed.kill()
        killed.communicate(timeout=PATIENCE_S)
        assert empty.holder() == holder
    empty.release()
    said, _ = next_one.communicate(timeout=PATIENCE_S)
    assert next_one.returncode == 0
    assert "Applying messaging.0001" in said
    assert empty.applied() > 20


@pytest.mark.long
def test_a_migration_that_waits_for_a_backup_lets_everybody_else_work(empty: Empty) -> None:
    """pg_dump reads tables for as long as it takes; whoever comes behind who waits to change one waits, too."""
    empty.release()
    empty.start("migrate", "messaging", "0010", "-v0").communicate(timeout=PATIENCE_S)
    with psycopg.connect(empty.url) as backup:
        backup.execute("LOCK messaging_conversation IN ACCESS SHARE MODE")
        migrate = empty.start("migrate")
        empty.await_waiting()
        empty.sql.execute("SET statement_timeout = '10s'")
        empty.sql.execute("SELECT count(*) FROM messaging_conversation")
        empty.await_waiting()  # it has not given up
    said, wrong = migrate.communicate(timeout=PATIENCE_S)
    assert migrate.returncode == 0
    assert "Applying messaging.0011" in said
    assert wrong.count("in use") == 1


IN_STEPS = """
from django.db import migrations

def tell(apps, schema_editor):
    message = apps.get_model("messaging", "Message")
    for room in apps.get_model("messaging", "Conversation").objects.order_by("title"):
        message.objects.create(conversation_id=room.pk, body="We have moved")

class Migration(migrations.Migration):
    atomic = False
    dependencies = [("messaging", "0013_guards")]
    operations = [migrations.RunPython(tell)]
"""

WAITED_OR_BEGAN_AGAIN = """
SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
   AND clock_timestamp() - query_start > make_interval(secs => %s)
UNION ALL SELECT 1 FROM messaging_message HAVING count(*) > 1
"""


@pytest.fixture
def shop(tmp_path: Path) -> dict[str, str]:
    """A site with an app of its own, whose migration commits step by step: the environment that chooses it."""
    (tmp_path / "shop/migrations").mkdir(parents=True)
    for package in ("shop", "shop/migrations"):
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "shop/migrations/0001_initial.py").write_text(IN_STEPS)
    settings = "from project.settings import *\nINSTALLED_APPS = [*INSTALLED_APPS, 'shop']\n"
    (tmp_path / "shop_settings.py").write_text(settings)
    return {"PYTHONPATH": str(tmp_path), "DJANGO_SETTINGS_MODULE": "shop_settings"}


@pytest.mark.long
def test_a_migration_that_commits_step_by_step_waits_and_is_not_begun_again(
    empty: Empty, shop: dict[str, str]
) -> None:
    """After a second's wait all of it was done once more: who had been told already was told twice."""
    empty.release()
    empty.start("migrate", "-v0").communicate(timeout=PATIENCE_S)
    empty.sql.execute("INSERT INTO messaging_conversation (title) VALUES ('A'), ('B')")
    with psycopg.connect(empty.url) as slow:
        slow.execute("SELECT FROM messaging_conversation WHERE title = 'B' FOR UPDATE")
        migrate = empty.start("migrate", "shop", **shop)
        for _ in daemons.pauses(PATIENCE_S):
            if empty.sql.execute(WAITED_OR_BEGAN_AGAIN, [2 * LOCK_MS / 1000]).fetchone():
                break
    _, wrong = migrate.communicate(timeout=PATIENCE_S)
    assert migrate.returncode == 0, wrong
    told = "SELECT title, count(*) FROM messaging_message JOIN messaging_conversation c ON c.id = conversation_id"
    assert empty.sql.execute(f"{told} GROUP BY title ORDER BY title").fetchall() == [
        ("A", 1),
        ("B", 1),
    ]


LEGACY = """
DATABASES["legacy"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
"""
OPENS_IT = """
from django.apps import AppConfig

class Shop(AppConfig):
    name = "shop"

    def ready(self):
        from django.db import connections
        connections["legacy"].ensure_connection()
"""


@pytest.mark.long
def test_a_site_that_has_opened_another_database_is_served(
    empty: Empty, shop: dict[str, str], tmp_path: Path
) -> None:
    """Its connection has no pool to be closed, unless it is PostgreSQL's."""
    (tmp_path / "shop/apps.py").write_text(OPENS_IT)
    with (tmp_path / "shop_settings.py").open("a") as settings:
        settings.write(LEGACY)
    empty.release()
    serving = empty.start("serve", "--processes", "1", "--no-spare", **shop)
    try:
        _until_served(serving)
    finally:
        serving.terminate()
        serving.communicate(timeout=PATIENCE_S)


@pytest.mark.slow
def test_settings_that_the_checks_refuse_are_not_served(
    empty: Empty, shop: dict[str, str], tmp_path: Path
) -> None:
    """It served, and said nothing: only `manage.py check` did."""
    with (tmp_path / "shop_settings.py").open("a") as settings:
        settings.write("USE_TZ = False\n")
    empty.release()
    serving = empty.start("serve", "--processes", "1", "--no-spare", **shop)
    try:
        assert serving.stdout is not None
        assert serving.stdout.readline() == ""
    finally:
        serving.terminate()
        _, wrong = serving.communicate(timeout=PATIENCE_S)
    assert "messaging.E006" in wrong
    assert "Traceback" not in wrong


@pytest.mark.slow
def test_what_is_left_to_migrate_is_a_line_where_serve_may_not_do_it(empty: Empty) -> None:
    """It served, and all that it was asked for failed."""
    empty.release()
    said, wrong = empty.start("serve", "--no-migrate").communicate(timeout=PATIENCE_S)
    assert said == ""
    assert re.fullmatch(
        r"error: \d+ migrations are not applied, .*_initial is the first: .*manage\.py migrate.*\n",
        wrong,
    )


@pytest.mark.long
def test_a_user_who_may_not_see_what_is_migrated_is_told_so_in_one_line(empty: Empty) -> None:
    """`--no-migrate` is for those who do not own the tables, and may have rights on those of the apps alone."""
    empty.release()
    empty.start("migrate", "-v0").communicate(timeout=PATIENCE_S)
    other = f"{empty.url}{'&' if '?' in empty.url else '?'}options=-c%20role%3Dpg_monitor"
    said, wrong = empty.start("serve", "--no-migrate", DATABASE_URL=other).communicate(
        timeout=PATIENCE_S
    )
    assert said == ""
    assert re.fullmatch(
        r"error: permission denied for table django_migrations: .*GRANT SELECT.*\n", wrong
    )


def _until_served(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    lines = [""]
    while "Lockstep serves" not in lines[-1]:
        lines.append(process.stdout.readline())
        assert lines[-1], "".join(lines)
    return "".join(lines)
