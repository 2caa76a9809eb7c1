"""Django's `migrate`, one at a time for each database; `serve` runs it too.

Laws: the lock belongs to the very session that migrates, so it is free only when nothing of that session
can commit any more, however its process ended. Whoever waits asks again and again: a statement that
waited in PostgreSQL's queue would itself be waited for by CREATE INDEX CONCURRENTLY, a deadlock.
Nor is a table waited for in that queue for long: whoever reads or writes it would wait behind us, for as long as
a backup takes that reads it. Only a migration that commits step by step (`atomic = False`) waits as long as it has to:
what was done of it can't be done once more.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.core.management.base import CommandError
from django.core.management.commands.migrate import Command as DjangoMigrate
from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.errors import InsufficientPrivilege, LockNotAvailable, ReadOnlySqlTransaction

KEY = 7_203_118  # any constant will do; PostgreSQL keeps advisory locks apart by database
PAUSE_S = 0.25  # between two attempts: nobody minds serving that much later
LOCK_MS = 1_000  # for a table to be free; then whoever came behind us has three times as long
REST_S = 3.0

HOLDER = """
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND classid = 0 AND objid = %s
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Command(DjangoMigrate):
    """Bring the tables to the state of this version; several processes may try at once."""

    _connection: BaseDatabaseWrapper
    _told = False  # that a table is in use

    def handle(self, *args: Any, **options: Any) -> None:
        """Wait for whoever migrates already, then migrate what is left to do."""
        self._connection = connection = connections[options["database"]]
        only_looks = options["check_unapplied"] or options["plan"]
        if only_looks or connection.vendor != "postgresql":
            super().handle(*args, **options)
            return
        try:
            with self._alone(connection):
                while not self._finishes(connection, *args, **options):
                    time.sleep(REST_S)
        except DatabaseError as error:
            raise CommandError(_explain(error, connection)) from error

    def _finishes(self, connection: BaseDatabaseWrapper, *args: Any, **options: Any) -> bool:
        """Do what is left to do; False if a table of it is in use. What was done stays."""
        _say(connection, f"SET lock_timeout = {LOCK_MS}")
        try:
            super().handle(*args, **options)
        except DatabaseError as error:
            if not isinstance(_cause(error), LockNotAvailable):
                raise
            if not self._told:
                said = "A table is in use, by a backup or another long transaction; trying again until it is free."
                self.stderr.write(said)
                self._told = True
            return False
        finally:
            if connection.is_usable():
                _say(connection, "RESET lock_timeout")
        return True

    def migration_progress_callback(
        self,
        action: str,
        migration: Any = None,
        fake: bool = False,  # noqa: FBT001, FBT002 - Django's signature
    ) -> None:
        """Say how long the migration that begins now waits for a lock, then what Django says of it."""
        if action in ("apply_start", "unapply_start") and self._connection.vendor == "postgresql":
            _say(self._connection, f"SET lock_timeout = {LOCK_MS if migration.atomic else 0}")
        super().migration_progress_callback(action, migration, fake)

    @contextmanager
    def _alone(self, connection: BaseDatabaseWrapper) -> Iterator[None]:
        said = False
        while not _ask(connection, "SELECT pg_try_advisory_lock(%s)"):
            if not said:
                holder = _ask(connection, HOLDER)
                self.stderr.write(
                    f"Another process migrates this database (PostgreSQL's session {holder}); waiting for its end."
                )
                said = True
            time.sleep(PAUSE_S)
        try:
            yield
        finally:
            if connection.is_usable():  # else the lock went with its session
                _ask(connection, "SELECT pg_advisory_unlock(%s)")


def _explain(error: DatabaseError, connection: BaseDatabaseWrapper) -> str:
    """One line for what an operator can mend. Raises the error itself if it is the program's."""
    cause = _cause(error)
    words = str(cause).partition("\n")[0].rstrip(".")
    user, name = (connection.settings_dict[key] for key in ("USER", "NAME"))
    match cause:
        case InsufficientPrivilege():
            return (
                f"{words}: user {user} may not change the tables of database {name}. Make it the owner, or have the "
                "owner run `manage.py migrate`, then serve with --no-migrate."
            )
        case ReadOnlySqlTransaction():
            return f"{words}: let DATABASE_URL name the primary server."
        case psycopg.OperationalError():
            return f"{words}. Mend that and run it again: migrations that were finished stay."
    raise error


def _cause(error: BaseException) -> psycopg.Error | None:
    """What PostgreSQL said, or the way to it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, psycopg.Error):
        cause = cause.__cause__ or cause.__context__
    return cause


def _say(connection: BaseDatabaseWrapper, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def _ask(connection: BaseDatabaseWrapper, statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, [KEY])
        row = cursor.fetchone()
    return row[0] if row else None
