"""The OpenAPI document fuzzed by schemathesis, in a process of its own; what it found, by check.

It loads for seconds and may not be there, so it is a child process. A check that complains about what
is meant to be so is left out, with the reason in LEFT_OUT.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import msgspec

from perf.load.known import LOG_IN, REGISTER, Known
from perf.load.rest import Rest
from perf.rig import children
from perf.rig.children import RigError

REPORT, ARCHIVE, LOG, CONFIGURATION = "fuzz.json", "fuzz.har", "fuzz.log", "fuzz.toml"
PATIENCE_S = 60.0  # beyond its own time budget: loading, and the last requests
PROGRAM = "from schemathesis.cli import schemathesis; schemathesis()"

LEFT_OUT: Mapping[str, str] = {
    "positive_data_acceptance": "what a sentence says and the schema can't is refused with 422: either "
    "user or username of a member, one other member in a direct conversation",
    "ensure_resource_availability": "404 may be about something else that a body names, such as a file",
    "use_after_free": "a deleted message is shown as a tombstone, a conversation that one left up to there",
}
"""Checks that are not made, and why."""

SPARED: Mapping[str, str] = {
    "/api/devices/token": "it would replace the token that fuzzes, and all the rest be unauthorized",
    "/api/devices/{device}": "ids in answers are tried in turn, and it would revoke the device that fuzzes",
}
"""Paths that are not tried, and why."""

SLOW: Mapping[str, str] = {
    LOG_IN: "each password costs most of a second of a core",
    REGISTER: "its proof costs a log-in",
}
"""Operations that are not among a few chosen ones, and why."""

ALWAYS = (
    *("--exclude-checks", ",".join(LEFT_OUT), "--continue-on-failure", "--no-shrink"),
    *("--request-timeout", "20", "--generation-database", "none", "--no-color"),
    *("--suppress-health-check", "all", "--warnings", "off"),
)


class Failure(msgspec.Struct, frozen=True):
    """One kind of failure: what it is, how often, and of which operations."""

    title: str
    count: int
    operations: list[str] = []
    code: str = ""


class Fuzzed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: operations of the document that were tried, requests, and answers by operation and hundred (`2xx`)."""

    document: int
    tested: int
    requests: int
    answers: dict[str, dict[str, int]] = {}
    failures: list[Failure] = []
    errors: list[Failure] = []
    left_out: Mapping[str, str] = msgspec.field(default_factory=lambda: {**LEFT_OUT, **SPARED})

    @property
    def unasked(self) -> list[str]:
        """Operations that were to be tried, and were not."""
        return sorted(one for one, found in self.answers.items() if not found)

    def never(self, hundred: str) -> list[str]:
        """Operations of which no answer was of this hundred."""
        return sorted(one for one, found in self.answers.items() if hundred not in found)


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


class _Request(msgspec.Struct):
    method: str
    url: str


class _Response(msgspec.Struct):
    status: int


class _Entry(msgspec.Struct):
    request: _Request
    response: _Response


class _Log(msgspec.Struct):
    entries: list[_Entry]


class _Archive(msgspec.Struct):
    """What we need of an HTTP archive (HAR 1.2)."""

    log: _Log


def installed() -> bool:
    """Whether schemathesis is there."""
    return find_spec("schemathesis") is not None


async def fuzz(
    *,
    url: str,
    token: str,
    known: Known,
    seed: int,
    phases: str,
    examples: int,
    seconds: float | None,
    logs: Path,
    few: int | None = None,
) -> Fuzzed:
    """Fuzz the server at `url` as this device, with so many examples of each operation. Raises RigError.

    `phases` are schemathesis' own: `coverage` tries every parameter at its bounds, `fuzzing` at random,
    `stateful` goes on with what was created. Of the operations only `few` are tried, if it says so.
    It tries on and on for so many `seconds`, or once, and is ended when that takes a minute longer.
    """
    chosen = await _documented(url)
    if few is not None:
        chosen = choose(chosen, few=few, seed=seed)
    (logs / CONFIGURATION).write_text(known.configuration())
    command = [
        *(sys.executable, "-c", PROGRAM, "--config-file", str(logs / CONFIGURATION)),
        *("run", f"{url}/api/openapi.json", "--header", f"Authorization: Bearer {token}"),
        *("--seed", str(seed), "--phases", phases, "--max-examples", str(examples)),
        *(() if seconds is None else ("--max-time", str(round(seconds)))),
        *(part for one in chosen for part in ("--include-name", one)),
        *ALWAYS,
        *("--report", "json,junit,har", "--report-json-path", str(logs / REPORT)),
        *("--report-junit-path", str(logs / "fuzz.xml"), "--report-har-path", str(logs / ARCHIVE)),
    ]
    await _run(command, log=logs / LOG, within_s=PATIENCE_S + (seconds or 0))
    try:
        fuzzed = read((logs / REPORT).read_bytes())
        answers = answers_of((logs / ARCHIVE).read_bytes(), chosen)
        return msgspec.structs.replace(fuzzed, answers=answers)
    except (OSError, msgspec.DecodeError):
        raise RigError(f"schemathesis left no report: {children.last_words(logs / LOG)}") from None


async def _run(command: list[str], *, log: Path, within_s: float) -> None:
    """Run it to its end, whatever it finds. Raises RigError if that does not come."""
    child = await children.start(command, env={}, log=log, talks=False)
    try:
        async with asyncio.timeout(within_s):
            await child.wait()
    except TimeoutError:
        raise RigError(f"schemathesis did not end in {within_s:.0f} s; see {log}") from None
    finally:
        await children.stop(child, patience_s=2.0)


def choose(operations: Sequence[str], *, few: int, seed: int) -> list[str]:
    """So many of them, by the seed, but none that is SLOW. Pure."""
    fast = sorted(one for one in operations if one not in SLOW)
    return sorted(Random(seed).sample(fast, min(few, len(fast))))


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


async def _documented(url: str) -> list[str]:
    """The operations of the document that are tried, as `GET /api/users`. Raises RigError."""
    rest = Rest(url)
    try:
        paths = (await rest.ask("GET", "/api/openapi.json")).json()["paths"]
    finally:
        await rest.close()
    return [
        f"{method.upper()} {path}"
        for path, methods in paths.items()
        for method in methods
        if path not in SPARED
    ]


def answers_of(archive: bytes, operations: Iterable[str]) -> dict[str, dict[str, int]]:
    """How often each operation was answered with which hundred, by an HTTP archive. Raises msgspec.DecodeError."""
    found: dict[str, dict[str, int]] = {one: {} for one in operations}
    # A path without parameters comes first: `/devices/link` is no `/devices/{device}`.
    known = [
        (re.compile(re.sub(r"\{[^}]*\}", "[^/]*", one)), found[one])
        for one in sorted(found, key=lambda one: one.count("{"))
    ]
    for entry in msgspec.json.decode(archive, type=_Archive).log.entries:
        asked = f"{entry.request.method} {urlsplit(entry.request.url).path}"
        for pattern, counts in known:
            if pattern.fullmatch(asked):
                hundred = f"{entry.response.status // 100}xx"
                counts[hundred] = counts.get(hundred, 0) + 1
                break
    return found
