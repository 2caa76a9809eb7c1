"""`manage.py perf_keep RUN…`: copies runs into the database, where the admin shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from perf.history.rundir import RUNS, NoRun, RunDirectory
from perf.models import Run


class Command(BaseCommand):
    """Copy runs into the database."""

    help = (
        "Copies runs into the database, where the admin shows them. `perf` does it after each run."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Which runs."""
        parser.add_argument("run", nargs="*", help="their directories (the latest run)")
        parser.add_argument("--runs", type=Path, default=RUNS, metavar="DIR", help="where runs are")

    def handle(self, **options: Any) -> None:
        """Copy each; an error is one line."""
        for name in options["run"] or [None]:
            try:
                run = Run.objects.keep(RunDirectory.find(options["runs"], name))
            except (NoRun, OSError) as error:
                raise CommandError(str(error)) from None
            except DatabaseError as error:
                reason = str(error).partition("\n")[0]
                raise CommandError(f"{reason} (`manage.py migrate` makes the table)") from None
            self.stdout.write(f"{run} is kept: {run.verdict}")
