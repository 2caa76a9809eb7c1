"""Restore a backup of `manage.py backup` into an empty database, which then begins a new epoch.

Laws: the rows come in one transaction, so a restore that was interrupted has left an empty database and can be
repeated; the files come first, so that no row names one that is missing. Nothing is ever replaced. The backup
has no epoch, so that even one that is restored by hand begins a new one.
"""

import re
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.files import File
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from messaging.files.contents import reaching, settle, storage
from messaging.management.commands.begin_epoch import begin_epoch
from messaging.models import Attachment
from project import dumps
from project.management.commands.backup import DATABASE, FILES, describe

# It measures for the server's operator: a superuser is needed for it, for the site none.
OF_THE_SERVER = re.compile(r"EXTENSION (- )?pg_stat_statements\b")
TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"


class Command(BaseCommand):
    """Read one backup. Servers start afterwards; every device then loads anew, and delivers its outbox."""

    help = "Restores a backup into an empty database; devices will load everything anew."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the place."""
        parser.add_argument("directory", type=Path, help="what `manage.py backup` has made")
        parser.add_argument(
            "--dry-run", action="store_true", help="only say whether it can be done"
        )

    def handle(self, *, directory: Path, **options: Any) -> None:
        """Check first, then files, rows and epoch."""
        archive = directory / DATABASE
        if not archive.is_file():
            raise CommandError(f"{directory} is no backup: it has no {DATABASE}.")
        with connection.cursor() as cursor:
            cursor.execute(TABLES)
            if cursor.fetchone() != (0,):
                raise CommandError(
                    "The database has tables already: restore into an empty one (docs/backup.md)."
                )
        connection.close()
        contents = sorted(each for each in (directory / FILES).rglob("*") if each.is_file())
        if options["dry_run"]:
            self.stdout.write(f"Would restore the database and {len(contents)} contents.")
            return
        try:
            for content in contents:
                put(content, place=content.relative_to(directory / FILES).as_posix())
        except OSError as error:
            words = describe(error, directory)
            raise CommandError(f"{words} Mend that, and run it again.") from error
        restore_rows(str(archive))
        self._report()

    def _report(self) -> None:
        """Say what there is now, and which files are not."""
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")  # pg_dump leaves the planner's statistics out
        named = Attachment.objects.exclude(file="").values_list("file", flat=True).distinct()
        lost = sum(not storage().exists(place) for place in named.iterator())
        self.stdout.write(
            f"Restored; epoch {begin_epoch()} begins: devices will load everything anew."
        )
        if lost:
            self.stderr.write(f"{lost} contents that messages name are not in the backup.")


def restore_rows(archive: str) -> None:
    """All of them or none, as the database's own user: roles of the old server may not be here. Raises CommandError."""
    entries = dumps.run("pg_restore", "--list", archive).splitlines(keepends=True)
    with tempfile.NamedTemporaryFile("w", suffix=".list") as wanted:
        wanted.writelines(entry for entry in entries if not OF_THE_SERVER.search(entry))
        wanted.flush()
        dumps.run(
            *("pg_restore", "--use-list", wanted.name, "--single-transaction", "--exit-on-error"),
            *("--no-owner", "--no-privileges", archive),
        )


def put(content: Path, *, place: str) -> None:
    """Store a content unless it is there, whole; the disk has it before a row names it. Raises OSError."""
    with reaching() as shelf:
        if shelf.exists(place):
            if shelf.size(place) == content.stat().st_size:
                return
            shelf.delete(place)
        with content.open("rb") as source:
            settle(shelf.save(place, File(source)))
