"""`manage.py perf`: the thin shell over the engine. The exit code is the verdict's."""

from __future__ import annotations

import errno
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandParser

from perf import arguments, report, runner, scenarios
from perf.history.rundir import NoRun, RunDirectory
from perf.management.keeping import keep
from perf.progress import Progress, take_all
from perf.rig import housekeeping
from perf.rig.children import RigError
from perf.scenario import Result, Scenario

COULD_NOT_RUN = 2
INTERRUPTED = 130
MENDS = {
    errno.EMFILE: ": raise `ulimit -n`; `manage.py perf setup` says to what",
    errno.ENFILE: ": the whole system has no more; raise fs.file-max",
    errno.ENOSPC: ": make room, or choose another disk with --runs and TMPDIR",
    errno.EDQUOT: ": make room, or choose another disk with --runs and TMPDIR",
    errno.EACCES: ": choose another place with --runs, or ask for the right to write there",
    errno.EROFS: ": choose another place with --runs",
}
"""What follows an error of the system, which only says what is wrong."""


class Command(BaseCommand):
    """Measure the server and prove what it promises."""

    help = arguments.HELP
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the verbs and their flags."""
        arguments.declare(parser)

    def handle(self, **chosen: Any) -> None:
        """Do what was asked; an error is one line."""
        take_all(sys.stdout, sys.stderr)
        try:
            sys.exit(self._do(chosen))
        except (RigError, NoRun, OSError) as error:
            mend = MENDS.get(getattr(error, "errno", None) or 0, "")
            self.stderr.write(f"error: {error}{mend}")
            sys.exit(COULD_NOT_RUN)
        except KeyboardInterrupt:
            self.stderr.write(
                "interrupted; all that was started has been ended. "
                "`manage.py perf report` shows what the run saw until then"
            )
            sys.exit(INTERRUPTED)

    def _do(self, chosen: dict[str, Any]) -> int:
        match chosen["verb"]:
            case "setup":
                return runner.execute(housekeeping.setup(self.stdout.write))
            case "cleanup":
                return runner.execute(housekeeping.clean_up(self.stdout.write))
            case "reset":
                work = housekeeping.reset(self.stdout.write, prefixes=chosen["prefix"])
                return runner.execute(work)
            case "report":
                return self._report(chosen)
            case _:
                return self._measure(chosen)

    def _report(self, chosen: dict[str, Any]) -> int:
        directory = RunDirectory.find(chosen["runs"], chosen["run"])
        result = report.rebuild(directory)
        if result is None:
            self.stdout.write(f"the run was aborted; what it saw until then: {directory.report}")
            return COULD_NOT_RUN
        self.stdout.write(report.text(result))
        return result.exit_code

    def _measure(self, chosen: dict[str, Any]) -> int:
        again = arguments.seeded(chosen, sys.argv[2:])
        if chosen["verb"] == "health":
            result = runner.run_health(arguments.options(chosen), arguments=again)
        elif chosen["dry_run"]:
            self._foretell(chosen, again)
            return 0
        else:
            result = self._run(chosen, again)
        _copy(result, chosen)
        self._keep(result)
        self.stdout.write(report.text(result))
        return result.exit_code

    def _foretell(self, chosen: dict[str, Any], again: list[str]) -> None:
        """Print the plan of one scenario, or a list of those of all."""
        options = arguments.options(chosen)
        plans = [
            runner.plan_of(one, options, command=runner.command(_alone(one, again)))
            for one in _wanted(chosen)
        ]
        shown = plans[0] if len(plans) == 1 else plans
        self.stdout.write(msgspec.json.format(msgspec.json.encode(shown)).decode())

    def _keep(self, result: Result) -> None:
        """Keep the run for the admin; that it could not be is a remark and no failure."""
        for one in (*result.runs, result):
            if one.directory and (reason := keep(RunDirectory(path=Path(one.directory)))):
                self.stderr.write(f"note: the run is not in the admin: {reason}")

    def _run(self, chosen: dict[str, Any], again: list[str]) -> Result:
        progress, options = Progress(quiet=chosen["quiet"]), arguments.options(chosen)
        if chosen.get("scenario") != "all":
            (scenario,) = _wanted(chosen)
            return runner.run(scenario, options, progress=progress, arguments=again)
        found = []
        for scenario in _wanted(chosen):
            progress.say(scenario.name)
            single = _alone(scenario, again)
            found.append(
                runner.run_or_explain(scenario, options, progress=progress, arguments=single)
            )
            self.stdout.write(report.text(found[-1]))
        return runner.merge(chosen["verb"], found, options, arguments=again)


def _wanted(chosen: dict[str, Any]) -> list[Scenario]:
    """The scenarios that were asked for."""
    known = scenarios.of(chosen["verb"])
    name = chosen.get("scenario") or chosen["verb"]
    return list(known.values()) if name == "all" else [known[name]]


def _alone(scenario: Scenario, arguments: list[str]) -> list[str]:
    """The arguments that run this scenario by itself."""
    return [scenario.name if part == "all" else part for part in arguments if part != "--dry-run"]


def _copy(result: Result, chosen: dict[str, Any]) -> None:
    """Write what was asked for beside the run's directory. Raises OSError."""
    if chosen["json"] is not None:
        report.write_json(result, chosen["json"])
    if chosen["junit"] is not None:
        report.write_junit(result, chosen["junit"])
    if chosen["html"] is not None and result.directory:
        shutil.copyfile(RunDirectory(path=Path(result.directory)).report, chosen["html"])
