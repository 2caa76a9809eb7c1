"""`manage.py perf`: the thin shell over the engine. Exit code 0 valid, 1 something failed, 2 unknown."""

from __future__ import annotations

import os
import random
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from perf import report, runner
from perf.children import RigError
from perf.scenario import Options, Result
from perf.scenarios import ALL

COULD_NOT_RUN = 2


class Command(BaseCommand):
    """Measure the server and prove what it promises."""

    help = (
        "Measures the server and proves what it promises. Exit code 0 valid, 1 failed, 2 unknown."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the verbs and their options."""
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        _add_common(verbs.add_parser("health", help="services, migrations, one round trip"))
        _add_common(verbs.add_parser("baseline", help="every target of the baseline table"))
        stress = verbs.add_parser("stress", help="how much it takes")
        stress.add_argument("scenario", choices=["messages"])
        _add_common(stress)

    def handle(self, **options: Any) -> None:
        """Run one scenario and report; the exit code is the verdict's."""
        arguments = sys.argv[2:]
        if options["seed"] is None and options["verb"] == "health":
            options["seed"] = 0  # there is no plan
        if options["seed"] is None:
            options["seed"] = random.randrange(2**31)
            arguments = [*arguments, "--seed", str(options["seed"])]
        try:
            result = _run(options, self._options(options), arguments)
            if options["json"] is not None:
                report.write_json(result, options["json"])
        except (RigError, OSError) as error:
            self.stderr.write(f"error: {error}")
            sys.exit(COULD_NOT_RUN)
        self.stdout.write(report.text(result))
        sys.exit(result.exit_code)

    def _options(self, options: dict[str, Any]) -> Options:
        quiet = options["quiet"]
        return Options(
            seed=options["seed"],
            quick=options["quick"],
            duration_s=options["duration"],
            devices=options["devices"],
            rate=options["rate"],
            outstanding=options["outstanding"],
            processes=options["processes"],
            server=options["server"],
            url=options["url"],
            accounts=options["accounts"],
            database_url=options["database"] or os.environ.get("DATABASE_URL"),
            say=(lambda line: None) if quiet else (lambda line: self.stderr.write(f"  {line}")),
        )


def _run(chosen: dict[str, Any], options: Options, arguments: list[str]) -> Result:
    if chosen["verb"] == "health":
        return runner.run_health(options, arguments=arguments)
    return runner.run(ALL[chosen.get("scenario") or chosen["verb"]], options, arguments=arguments)


def _add_common(parser: ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    parser.add_argument("--seed", type=int, help="of the plan; default: a new one, printed")
    parser.add_argument("--duration", type=float, metavar="S", help="of the measured part")
    parser.add_argument("--devices", type=int, help="how many, ten to a conversation")
    parser.add_argument("--rate", type=float, help="messages a second of an open loop")
    parser.add_argument(
        "--outstanding", type=int, help="unanswered sends per device of a closed loop"
    )
    parser.add_argument(
        "--processes", type=int, default=1, help="of the private server (%(default)s)"
    )
    parser.add_argument("--server", choices=["uvicorn", "daphne"], default="uvicorn")
    parser.add_argument("--url", help="of a server that runs already, instead of a private one")
    parser.add_argument(
        "--accounts", type=Path, metavar="FILE", help="what provision printed for --url"
    )
    parser.add_argument(
        "--database", metavar="URL", help="of that server, to compare; default: DATABASE_URL"
    )
    parser.add_argument("--quick", action="store_true", help="a short run: does it work at all?")
    parser.add_argument("--quiet", action="store_true", help="only the report")
