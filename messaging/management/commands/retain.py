"""Let old messages go, as `retention_days` and `purge_days` say. Run it daily, beside running servers."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError, OperationalError

from messaging import conf, retention

MOST_DAYS = 365_000  # a thousand years; PostgreSQL's calendar begins in 4713 BC


class Command(BaseCommand):
    """Messages become tombstones, tombstones go; interrupted or repeated it goes on where it was."""

    help = (
        "Lets old messages go, as retention_days and purge_days say. To be run daily, beside running "
        "servers."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take other ages than those of the settings."""
        parser.add_argument("--days", type=float, help="of messages (default: retention_days)")
        parser.add_argument("--purge-days", type=float, help="of tombstones (default: purge_days)")
        parser.add_argument("--dry-run", action="store_true", help="only count")

    def handle(self, **options: Any) -> None:
        """Do what has an age, and say what went."""
        given, settings = options, conf.current()
        days = settings.retention_days if given["days"] is None else given["days"]
        purge_days = settings.purge_days if given["purge_days"] is None else given["purge_days"]
        if days is None and purge_days is None:
            raise CommandError(
                "Nothing says how long messages stay: set retention_days, or give --days."
            )
        for age in (days, purge_days):
            if age is not None and not 0 <= age <= MOST_DAYS:
                raise CommandError(f"An age is from 0 to {MOST_DAYS:,} days, not {age:g}.")
        work = self._count if options["dry_run"] else self._work
        try:
            work(days, purge_days)
        except (OperationalError, OSError) as error:
            raise CommandError(f"{_line(error)} Run it again: what is done is done.") from error
        except IntegrityError as error:
            raise CommandError(
                f"{_line(error)} Give the ForeignKey of that table db_constraint=False (docs/django.md), "
                "migrate, and run it again: what is done is done."
            ) from error

    def _work(self, days: float | None, purge_days: float | None) -> None:
        if days is not None:
            done = retention.let_go(age=timedelta(days=days))
            self.stdout.write(
                f"{done.messages} messages are tombstones now, {done.files} files went."
            )
        if purge_days is not None:
            removed = retention.purge(age=timedelta(days=purge_days))
            self.stdout.write(f"{removed} tombstones are gone.")

    def _count(self, days: float | None, purge_days: float | None) -> None:
        if days is not None:
            messages = sum(len(each.ids) for each in retention.old(age=timedelta(days=days)))
            self.stdout.write(f"{messages} messages would become tombstones.")
        if purge_days is not None:
            rows = sum(len(each.ids) for each in retention.gone(age=timedelta(days=purge_days)))
            self.stdout.write(f"{rows} tombstones would go.")


def _line(error: Exception) -> str:
    """The first line of what the database said, as a sentence."""
    return str(error).strip().splitlines()[0].rstrip(".") + "."
