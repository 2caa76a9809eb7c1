"""Remove uploads that no message took, files of deleted messages, and contents that nobody has. Run it daily."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from messaging import conf
from messaging.files import cleaning

MOST_HOURS = 8_760_000  # a thousand years; PostgreSQL's calendar begins in 4713 BC


class Command(BaseCommand):
    """Clean the storage of files, beside running servers too."""

    help = (
        "Removes uploads that no message took, files of deleted messages, and contents that nobody has. "
        "To be run daily."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take an age."""
        parser.add_argument(
            "--hours", type=float, help="of uploads that no message took (default: file_hours)"
        )

    def handle(self, **options: Any) -> None:
        """Clean, and say what went."""
        hours = conf.current().file_hours if options["hours"] is None else options["hours"]
        if not 0 <= hours <= MOST_HOURS:
            raise CommandError(
                f"--hours is from 0, which removes every upload without a message, to {MOST_HOURS:,}."
            )
        try:
            cleaned = cleaning.clean(older_than=timedelta(hours=hours))
        except (OperationalError, OSError) as error:
            words = str(error).strip().splitlines()[0].rstrip(".")
            raise CommandError(f"{words}. Run it again: what is done is done.") from error
        self.stdout.write(f"{cleaned.rows} files and {cleaned.contents} contents removed.")
