"""The fuzzed part of `perf stress api`: nonsense by the OpenAPI document, which must neither break it nor the server."""

from __future__ import annotations

from typing import Any

import msgspec

from perf.coverage import Covered
from perf.load import fuzz
from perf.rig import environment as environments
from perf.rig.environment import Crowd
from perf.scenario import Findings, Stage

# At most: the quick form is done in a few, unless the machine is busy; the full one goes on for as long as it may.
FUZZ_S, QUICK_FUZZ_S = 60.0, 40.0
EXAMPLES, QUICK_EXAMPLES = 20, 1  # of each operation


def seconds(*, quick: bool) -> float:
    """How long it may take."""
    return QUICK_FUZZ_S if quick else FUZZ_S


def plan(*, quick: bool) -> dict[str, Any]:
    """What --dry-run prints."""
    return {
        "seconds_at_most": seconds(quick=quick),
        "examples": QUICK_EXAMPLES if quick else EXAMPLES,
        "left_out": {**fuzz.LEFT_OUT, **fuzz.SPARED, **fuzz.REFUSED_ONLY},
    }


async def judge(stage: Stage, findings: Findings) -> None:
    """Fuzz the OpenAPI document as a user who is not in the history, and note what fell. Raises RigError."""
    place, quick = stage.environment, stage.options.quick
    if place.logs is None:
        findings.unknown.append("fuzzing: only a private environment is fuzzed")
        return
    if not fuzz.installed():
        findings.unknown.append("the API was not fuzzed: `pip install schemathesis`")
        return
    stage.progress.say("fuzzing the OpenAPI document")
    stage.series.mark("fuzzing")
    accounts = await environments.provision(
        Crowd(conversations=1, members=2), env=place.env, logs=place.logs, prefix="perf-fuzz"
    )
    found = await fuzz.fuzz(
        url=place.url,
        token=accounts[0].token,
        seed=stage.options.seed,
        phases="fuzzing" if quick else "coverage,fuzzing,stateful",
        examples=QUICK_EXAMPLES if quick else EXAMPLES,
        seconds=seconds(quick=quick),
        logs=place.logs,
    )
    _note(findings, found)


def _note(findings: Findings, found: fuzz.Fuzzed) -> None:
    findings.figures["fuzz"] = msgspec.to_builtins(found)
    asked = len(found.answers) - len(found.unasked)
    refused = set(found.never("2xx")) - set(fuzz.REFUSED_ONLY)
    findings.coverage += [
        Covered(
            name="the API keeps to its document under fuzzing",
            kind="always",
            checked=found.requests,
            held=max(found.requests - sum(one.count for one in found.failures), 0),
            witness=f"{found.tested} of {found.document} operations",
        ),
        Covered(
            name="an operation of the document is fuzzed",
            kind="always",
            checked=len(found.answers),
            held=asked,
            witness="; ".join(found.unasked),
        ),
        Covered(
            name="an operation does under fuzzing what it is for",
            kind="sometimes",
            checked=asked,
            held=len(found.answers) - len(found.never("2xx")),
            witness="never: " + "; ".join(sorted(refused)) if refused else "",
        ),
        Covered(
            name="an operation refuses what the fuzzer asks",
            kind="sometimes",
            checked=asked,
            held=len(found.answers) - len(found.never("4xx")),
            witness="never: " + "; ".join(found.never("4xx")) if found.never("4xx") else "",
        ),
    ]
    findings.broken += [
        f"fuzzing: {one.title}, {one.count} times: {', '.join(one.operations)}"
        for one in [*found.failures, *found.errors]
    ]
