"""Back up the database and the files of messages into a new directory, beside running servers too.

Law: first the database, then the files. Contents never change and only `clean_files` removes one, so what is
copied later has whatever the copied rows name; `clean_files` is not to run meanwhile.
"""

import shutil
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from messaging.files.cleaning import places
from messaging.files.contents import reaching, sync
from messaging.models import Attachment
from project import dumps

DATABASE, FILES = "database.dump", "files"
NO_EPOCH = "--exclude-table-data=messaging_epoch"  # whoever restores this lives another life
UNFINISHED = ".unfinished"  # behind the name, until all is there


class Command(BaseCommand):
    """Write one backup; what was interrupted never has the name of one that is whole."""

    help = "Backs up the database and the files of messages into a new directory."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the place."""
        parser.add_argument("directory", type=Path, help="a new one, which this makes")
        parser.add_argument("--dry-run", action="store_true", help="only say what would be copied")

    def handle(self, *, directory: Path, **options: Any) -> None:
        """Write it beside its place, then give it its name."""
        if directory.exists():
            raise CommandError(f"{directory} exists: name a new directory.")
        if Attachment._meta.db_table not in connection.introspection.table_names():
            raise CommandError(
                "There is nothing to back up, the database has no tables: are DATABASE_URL and LOCKSTEP_DATA the site's?"
            )
        if options["dry_run"]:
            self.stdout.write(f"Would copy the database and {sum(1 for _ in places())} contents.")
            return
        draft = directory.with_name(directory.name + UNFINISHED)
        shutil.rmtree(draft, ignore_errors=True)
        named = set(Attachment.objects.exclude(file="").values_list("file", flat=True))
        try:
            draft.mkdir(mode=0o700, parents=True)
            archive = draft / DATABASE
            dumps.run("pg_dump", "--format=custom", NO_EPOCH, "--file", str(archive))
            copied = {place for place in places() if copy(place, draft / FILES)}
            if named and not named & copied:
                raise CommandError(
                    f"The storage of files has none of the {len(named)} contents that messages name: is LOCKSTEP_DATA the site's?"
                )
            publish(draft, directory)
        except OSError as error:
            raise CommandError(describe(error, draft)) from error
        size = (directory / DATABASE).stat().st_size
        self.stdout.write(f"{directory}: a database of {size:,} bytes, {len(copied)} contents.")
        if lost := len(named - copied):
            self.stderr.write(f"{lost} contents that messages name are not in the storage.")


def describe(error: OSError, place: Path) -> str:
    """What went wrong, and where: at `place` unless the error names a file."""
    return f"{error.filename or place}: {error.strerror}." if error.strerror else f"{error}."


def publish(draft: Path, directory: Path) -> None:
    """Give a draft its name, once the disk has all of it: a name must not survive a crash that its files do not. Raises OSError."""
    sync(*draft.rglob("*"), draft)
    draft.rename(directory)
    sync(directory.parent)


def copy(place: str, folder: Path) -> bool:
    """Copy one content out of the storage; False if it is gone meanwhile. Raises OSError."""
    target = folder / place
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with reaching() as shelf, shelf.open(place) as source, target.open("wb") as copied:
            shutil.copyfileobj(source, copied)
    except FileNotFoundError:
        target.unlink(missing_ok=True)
        return False
    return True
