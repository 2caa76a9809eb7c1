"""The command line of `manage.py perf`: its verbs, their flags, and the options that they make."""

from __future__ import annotations

import math
import os
import random
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from perf import faults, scenarios
from perf.history.rundir import RUNS
from perf.load.presets import PRESETS
from perf.rig.housekeeping import PREFIXES
from perf.sabotage import BY_NAME
from perf.scenario import Options

HELP = "Measures the server and proves what it promises."
EXIT_CODES = """exit code:
  0  valid: every target and guarantee was measured and held
  1  invalid: a target or a guarantee failed
  2  unknown: not everything could be measured, or nothing could run; the reason is on one line
"""


def declare(parser: ArgumentParser) -> None:
    """Add the verbs and their flags."""
    parser.epilog, parser.formatter_class = EXIT_CODES, RawDescriptionHelpFormatter
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_housekeeping(verbs)
    _add_flags(_verb(verbs, "health", "services, migrations, one round trip"))
    _add_flags(_verb(verbs, "baseline", "every target of the baseline table"))
    stress = _verb(verbs, "stress", "how much it takes, and what happens beyond")
    stress.add_argument("scenario", choices=[*scenarios.of("stress"), "all"])
    _add_flags(stress)
    e2e = _verb(
        verbs, "e2e", "whether what it promises is true, and whether the judge would notice"
    )
    e2e.add_argument("scenario", choices=[*scenarios.of("e2e"), "all"])
    e2e.add_argument(
        "--fault",
        choices=list(faults.ALL),
        metavar="NAME",
        help="of failure-recovery: only this one; an unknown name lists all",
    )
    e2e.add_argument(
        "--sabotage",
        choices=list(BY_NAME),
        metavar="NAME",
        help="break the private server in this way: the verdict has to be invalid then",
    )
    _add_flags(e2e)
    soak = _verb(verbs, "soak", "the same day again and again: leaks, drift, uptime")
    soak.add_argument("--hours", type=_positive, metavar="H", help="how long (48)")
    _add_flags(soak)


def seeded(chosen: dict[str, Any], arguments: list[str]) -> list[str]:
    """Choose a seed if none was given; return the arguments that repeat the run."""
    if chosen.get("seed") is not None:
        return arguments
    if chosen["verb"] == "health":
        chosen["seed"] = 0  # there is no plan
        return arguments
    chosen["seed"] = random.randrange(2**31)
    return [*arguments, "--seed", str(chosen["seed"])]


def options(chosen: dict[str, Any]) -> Options:
    """What a scenario needs to know of what was chosen."""
    hours = chosen.get("hours")
    return Options(
        seed=chosen["seed"],
        quick=chosen["quick"],
        duration_s=chosen["duration"] if hours is None else 3600 * hours,
        devices=chosen["devices"],
        rate=chosen["rate"],
        outstanding=chosen["outstanding"],
        preset=chosen["profile"],
        fault=chosen.get("fault"),
        sabotage=chosen.get("sabotage"),
        processes=chosen["processes"],
        server=chosen["server"],
        url=chosen["url"],
        accounts=chosen["accounts"],
        database_url=chosen["database"] or os.environ.get("DATABASE_URL"),
        runs=chosen["runs"],
    )


def _verb(verbs: Any, name: str, text: str) -> ArgumentParser:
    parser: ArgumentParser = verbs.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=EXIT_CODES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    return parser


def _add_housekeeping(verbs: Any) -> None:
    _verb(verbs, "setup", "look at this machine and prepare it, each fault with its mend")
    _verb(verbs, "cleanup", "end and remove what killed runs left behind")
    reset = _verb(verbs, "reset", "remove the accounts of measurements and all that they said")
    reset.add_argument(
        "--prefix", nargs="+", default=PREFIXES, help=f"of their names ({' '.join(PREFIXES)})"
    )
    report = _verb(verbs, "report", "make the report of a run again, also of an aborted one")
    report.add_argument("run", nargs="?", metavar="RUN", help="its directory (the latest run)")
    report.add_argument(
        "--runs", type=Path, default=RUNS, metavar="DIR", help="where runs are kept (perf-runs)"
    )


def _add_flags(parser: ArgumentParser) -> None:
    _add_load(parser)
    _add_place(parser)
    _add_output(parser)


def _add_load(parser: ArgumentParser) -> None:
    load = parser.add_argument_group("load")
    load.add_argument("--quick", action="store_true", help="a short run: does it work at all?")
    load.add_argument("--seed", type=int, help="of the plan; default: a new one, printed")
    load.add_argument("--duration", type=_positive, metavar="S", help="of the measured part")
    load.add_argument("--devices", type=_count, metavar="N", help="how many, ten to a conversation")
    load.add_argument("--rate", type=_rate, metavar="R", help="messages a second (200, or 200/s)")
    load.add_argument("--outstanding", type=_count, metavar="N", help="unanswered sends per device")
    load.add_argument("--profile", choices=list(PRESETS), help="the shape of the load, by name")


def _add_place(parser: ArgumentParser) -> None:
    place = parser.add_argument_group("place")
    place.add_argument(
        "--processes",
        type=_count,
        default=1,
        metavar="N",
        help="of the private server (%(default)s)",
    )
    place.add_argument(
        "--server", choices=["uvicorn", "daphne"], default="uvicorn", help="of both (%(default)s)"
    )
    place.add_argument("--url", help="of a server that runs already, instead of a private one")
    place.add_argument(
        "--accounts", type=Path, metavar="FILE", help="what provision printed for --url"
    )
    place.add_argument(
        "--database", metavar="URL", help="of that server, to compare; default: DATABASE_URL"
    )


def _add_output(parser: ArgumentParser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument("--dry-run", action="store_true", help="print the plan and its cost only")
    output.add_argument("--json", type=_file, metavar="FILE", help="write the result there, too")
    output.add_argument("--html", type=_file, metavar="FILE", help="write the report there, too")
    output.add_argument("--junit", type=_file, metavar="FILE", help="write JUnit XML there, too")
    output.add_argument("--quiet", action="store_true", help="only the report, no progress")
    output.add_argument(
        "--runs", type=Path, default=RUNS, metavar="DIR", help="where runs are kept (perf-runs)"
    )


def _positive(text: str) -> float:
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = 0
    if not 0 < value < math.inf:  # not a number is not above 0 either
        raise ArgumentTypeError(f"{text} is no positive number")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text} is no whole number from 1 on")
    return int(text)


def _rate(text: str) -> float:
    return _positive(text.removesuffix("/s"))


def _file(text: str) -> Path:
    """A file to be written when all is over: whether it can be is better known before."""
    path = Path(text)
    if not path.parent.is_dir():
        raise ArgumentTypeError(f"{path.parent} is no directory: make it, or name another file")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ArgumentTypeError(f"{path} can't be written: name another file")
    return path
