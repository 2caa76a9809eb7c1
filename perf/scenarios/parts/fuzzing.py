"""The fuzzed part of `perf stress api`: nonsense by the OpenAPI document, which must neither break it nor the server."""

from __future__ import annotations

from typing import Any

import msgspec

from perf.coverage import Covered
from perf.load import fuzz
from perf.load.rest import Rest
from perf.scenario import Findings, Stage
from perf.scenarios.parts.guests import Guests, furnish

FUZZ_S, QUICK_FUZZ_S = (
    60.0,
    2.0,
)  # the full form goes on for so long; the quick one takes about so long
EXAMPLES, QUICK_EXAMPLES = 20, 3  # of each operation, each time that it is come to
QUICK_OPERATIONS = 6  # of the document's, by the seed


def seconds(*, quick: bool) -> float:
    """How long it takes."""
    return QUICK_FUZZ_S if quick else FUZZ_S


def plan(*, quick: bool) -> dict[str, Any]:
    """What --dry-run prints."""
    return {
        "operations": f"{QUICK_OPERATIONS}, by the seed" if quick else "all",
        "seconds": seconds(quick=quick),
        "examples": QUICK_EXAMPLES if quick else EXAMPLES,
        "left_out": {**fuzz.LEFT_OUT, **fuzz.SPARED, **(fuzz.SLOW if quick else {})},
    }


async def judge(stage: Stage, findings: Findings, rest: Rest, guests: Guests | None) -> None:
    """Fuzz the OpenAPI document as a user who is not in the history, and note what fell. Raises RigError, NoAnswer."""
    place, quick = stage.environment, stage.options.quick
    if place.logs is None or guests is None:
        findings.unknown.append("fuzzing: only a private environment is fuzzed")
        return
    if not fuzz.installed():
        findings.unknown.append("the API was not fuzzed: `pip install schemathesis`")
        return
    stage.progress.say("fuzzing the OpenAPI document")
    stage.series.mark("fuzzing")
    found = await fuzz.fuzz(
        url=place.url,
        token=guests.accounts[-1].token,
        known=await furnish(rest, guests, proof=not quick),
        seed=stage.options.seed,
        phases="fuzzing" if quick else "coverage,fuzzing,stateful",
        examples=QUICK_EXAMPLES if quick else EXAMPLES,
        seconds=None if quick else FUZZ_S,
        logs=place.logs,
        few=QUICK_OPERATIONS if quick else None,
    )
    _note(findings, found)


def _note(findings: Findings, found: fuzz.Fuzzed) -> None:
    asked = len(found.answers) - len(found.unasked)
    succeeded = len(found.answers) - len(found.never("2xx"))
    findings.figures |= {
        "fuzz": msgspec.to_builtins(found),
        "fuzzed_operations": f"{asked} of {found.document} in the document",
        "fuzzed_operations_that_succeeded": f"{succeeded} of {asked}",
    }
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
        _answered(found, "2xx", "an operation does under fuzzing what it is for"),
        _answered(found, "4xx", "an operation refuses what the fuzzer asks"),
    ]
    findings.broken += [
        f"fuzzing: {one.title}, {one.count} times: {', '.join(one.operations)}"
        for one in [*found.failures, *found.errors]
    ]


def _answered(found: fuzz.Fuzzed, status: str, name: str) -> Covered:
    """How many of the operations that were asked have ever answered with a `status` of that class."""
    never = found.never(status)
    return Covered(
        name=name,
        kind="sometimes",
        checked=len(found.answers) - len(found.unasked),
        held=len(found.answers) - len(never),
        witness="never: " + "; ".join(never) if never else "",
    )
