"""The OpenAPI document fuzzed by schemathesis, in a process of its own; what it found, by check.

It loads for seconds and may not be there, so it is a child process. A check that complains about what
is meant to be so is left out, with the reason in LEFT_OUT.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import msgspec

from perf.rig import children
from perf.rig.children import RigError

PATIENCE_S = 60.0  # beyond its own time budget: loading, and the last requests
PROGRAM = "from schemathesis.cli import schemathesis; schemathesis()"

LEFT_OUT: Mapping[str, str] = {
    "positive_data_acceptance": "what a sentence says and the schema can't is refused with 422: either "
    "user or username of a member, one other member in a direct conversation",
}
"""Checks that are not made, and why."""

SPARED: Mapping[str, str] = {
    "/api/devices/token": "it would replace the token that fuzzes, and all the rest be unauthorized",
    "/api/devices/{device}": "ids in answers are tried in turn, and it would revoke the device that fuzzes",
}
"""Paths that are not tried, and why."""


class Failure(msgspec.Struct, frozen=True):
    """One kind of failure: what it is, how often, and of which operations."""

    title: str
    count: int
    operations: list[str] = []
    code: str = ""


class Fuzzed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: operations of the document that were tried, and requests."""

    document: int
    tested: int
    requests: int
    failures: list[Failure] = []
    errors: list[Failure] = []
    left_out: Mapping[str, str] = msgspec.field(default_factory=lambda: {**LEFT_OUT, **SPARED})


class _Counts(msgspec.Struct):
    total: int = 0
    tested: int = 0
    generated: int = 0


class _Report(msgspec.Struct):
    """What we need of schemathesis' JSON report."""

    operations: _Counts | None
    test_cases: _Counts
    failures: list[Failure]
    errors: list[Failure]


def installed() -> bool:
    """Whether schemathesis is there."""
    return find_spec("schemathesis") is not None


async def fuzz(
    *, url: str, token: str, seed: int, phases: str, examples: int, seconds: float, logs: Path
) -> Fuzzed:
    """Fuzz the server at `url` as this device, with so many examples of each operation. Raises RigError.

    `phases` are schemathesis' own: `coverage` tries every parameter at its bounds, `fuzzing` at random.
    It ends itself after `seconds`, and is ended when that takes a minute longer.
    """
    found, log = logs / "fuzz.json", logs / "fuzz.log"
    command = [
        *(sys.executable, "-c", PROGRAM, "run", f"{url}/api/openapi.json"),
        *("--header", f"Authorization: Bearer {token}", "--seed", str(seed)),
        *("--phases", phases, "--max-examples", str(examples), "--max-time", str(round(seconds))),
        *("--exclude-checks", ",".join(LEFT_OUT), "--continue-on-failure", "--no-shrink"),
        *(part for path in SPARED for part in ("--exclude-path", path)),
        *("--request-timeout", "20", "--generation-database", "none", "--no-color"),
        *("--suppress-health-check", "all", "--warnings", "off"),
        *("--report", "json,junit", "--report-json-path", str(found)),
        *("--report-junit-path", str(logs / "fuzz.xml")),
    ]
    child = await children.start(command, env={}, log=log, talks=False)
    try:
        async with asyncio.timeout(seconds + PATIENCE_S):
            await child.wait()
    except TimeoutError:
        raise RigError(
            f"schemathesis did not end in {seconds + PATIENCE_S:.0f} s; see {log}"
        ) from None
    finally:
        await children.stop(child, patience_s=2.0)
    try:
        return read(found.read_bytes())
    except (OSError, msgspec.DecodeError):
        raise RigError(f"schemathesis left no report: {children.last_words(log)}") from None


def read(report: bytes) -> Fuzzed:
    """What a report says. Raises msgspec.DecodeError."""
    found = msgspec.json.decode(report, type=_Report)
    operations = found.operations or _Counts()
    return Fuzzed(
        document=operations.total,
        tested=operations.tested,
        requests=found.test_cases.generated,
        failures=found.failures,
        errors=found.errors,
    )
