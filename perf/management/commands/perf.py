"""`manage.py perf`: the thin shell over the engine. The exit code is the verdict's."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandParser

from perf import arguments, report, results, runner, scenarios
from perf.children import RigError
from perf.progress import Progress
from perf.scenario import Result, Scenario

COULD_NOT_RUN = 2
INTERRUPTED = 130


class Command(BaseCommand):
    """Measure the server and prove what it promises."""

    help = arguments.HELP
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the verbs and their flags."""
        arguments.declare(parser)

    def handle(self, **chosen: Any) -> None:
        """Do what was asked; an error is one line."""
        try:
            sys.exit(self._measure(chosen))
        except (RigError, OSError) as error:
            self.stderr.write(f"error: {error}")
            sys.exit(COULD_NOT_RUN)
        except KeyboardInterrupt:
            self.stderr.write("interrupted; everything that was started has been ended")
            sys.exit(INTERRUPTED)

    def _measure(self, chosen: dict[str, Any]) -> int:
        again = arguments.seeded(chosen, sys.argv[2:])
        if chosen["verb"] == "health":
            result = runner.run_health(arguments.options(chosen), arguments=again)
        elif chosen["dry_run"]:
            for scenario in _wanted(chosen):
                plan = runner.plan_of(
                    scenario, arguments.options(chosen), command=runner.command(again)
                )
                self.stdout.write(msgspec.json.format(msgspec.json.encode(plan)).decode())
            return 0
        else:
            result = self._run(chosen, again)
        if chosen["json"] is not None:
            report.write_json(result, chosen["json"])
        self.stdout.write(report.text(result))
        return result.exit_code

    def _run(self, chosen: dict[str, Any], again: list[str]) -> Result:
        progress, options = Progress(quiet=chosen["quiet"]), arguments.options(chosen)
        if chosen.get("scenario") != "all":
            (scenario,) = _wanted(chosen)
            return runner.run(scenario, options, progress=progress, arguments=again)
        found = []
        for scenario in _wanted(chosen):
            progress.say(scenario.name)
            single = [scenario.name if part == "all" else part for part in again]
            found.append(runner.run(scenario, options, progress=progress, arguments=single))
            self.stdout.write(report.text(found[-1]))
        name = f"{chosen['verb']} all"
        return results.merged(name, found, command=runner.command(again))


def _wanted(chosen: dict[str, Any]) -> list[Scenario]:
    """The scenarios that were asked for."""
    known = scenarios.of(chosen["verb"])
    name = chosen.get("scenario") or chosen["verb"]
    return list(known.values()) if name == "all" else [known[name]]
