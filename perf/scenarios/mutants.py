"""`perf e2e mutants`: puts the judge on trial with planted-bad histories, good ones, and real bad servers.

Counted under `anomalies` is only what was not caught: a run of mutants is valid when the judge
convicts each by its own name and acquits every good history and the whole server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from perf.checkers import Judgement
from perf.checkers.planted.trials import Trial, try_good, try_mutants
from perf.coverage import Covered
from perf.rig.environment import Crowd
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios import sabotaged
from perf.scenarios.sabotaged import Attempt
from perf.targets import outcome

TIMES, QUICK_TIMES = 20, 2  # histories for each mutant
GOOD, QUICK_GOOD = 500, 50  # good histories


def trials(*, seed: int, quick: bool) -> list[Trial]:
    """Plant every mutant and judge it. Pure; takes about 20 s, or 2 s when it has to be quick."""
    return list(try_mutants(seed=seed, times=QUICK_TIMES if quick else TIMES))


def innocents(*, seed: int, quick: bool) -> list[str]:
    """Judge good histories; return a sentence for each that was not acquitted. Pure."""
    return [
        f"the good history of seed {at} was convicted of {_names(judgement)}"
        for at, judgement in try_good(seed=seed, times=QUICK_GOOD if quick else GOOD)
    ]


def uncaught(tried: Iterable[Trial]) -> Judgement:
    """What the judge missed, as a judgement: each anomaly that was not caught under its own name."""
    judgement = Judgement()
    for trial in tried:
        judgement.check(trial.mutant.anomaly)
        if not trial.caught:
            judgement.convict(trial.mutant.anomaly, trial.sentence)
    return judgement


def coverage(tried: Iterable[Trial]) -> Iterator[Covered]:
    """How often each mutant was planted and caught."""
    caught: dict[tuple[str, str], list[bool]] = {}
    for trial in tried:
        caught.setdefault((trial.mutant.anomaly, trial.mutant.title), []).append(trial.caught)
    for (anomaly, title), times in caught.items():
        yield Covered(
            name=f"{anomaly}: {title}", kind="always", checked=len(times), held=sum(times)
        )


def _names(judgement: Judgement) -> str:
    found = ", ".join(name for name, count in judgement.counts.items() if count)
    return found or "an unbalanced ledger"


def crowd(options: Options) -> Crowd:
    """A conversation for each server."""
    return sabotaged.crowd(quick=options.quick)


def foretell(options: Options) -> dict[str, Any]:
    """How many histories and servers there will be."""
    return {
        "histories_per_mutant": QUICK_TIMES if options.quick else TIMES,
        "good_histories": QUICK_GOOD if options.quick else GOOD,
        "sabotages": [one.name for one in sabotaged.wanted(quick=options.quick)],
    }


async def run(stage: Stage) -> Findings:
    """Try the judge with histories, then with servers."""
    seed, quick = stage.options.seed, stage.options.quick
    stage.progress.say("planting anomalies in histories")
    tried = await asyncio.to_thread(trials, seed=seed, quick=quick)
    accused = await asyncio.to_thread(innocents, seed=seed, quick=quick)
    attempts = await sabotaged.attempts(stage)
    judgement = uncaught(tried)
    for attempt in attempts:
        if attempt.sabotage is not None and not attempt.caught:
            judgement.counts.setdefault(attempt.sabotage.anomaly, 0)
            judgement.convict(attempt.sabotage.anomaly, attempt.sentence)
    good = QUICK_GOOD if quick else GOOD
    caught = [trial.caught for trial in tried]
    broken = [one for one in attempts if one.sabotage is not None]
    whole = [one for one in attempts if one.sabotage is None]
    return Findings(
        outcomes=[
            outcome("V1", _percent(caught), source=f"{len(caught)} histories"),
            outcome("V2", 100 * (1 - len(accused) / good), source=f"{good} histories"),
            outcome("V3", _percent([one.caught for one in broken]), source=_names_of(broken)),
            outcome("V4", _percent([one.caught for one in whole]), source="the same workout"),
        ],
        judgement=judgement,
        coverage=[*coverage(tried), *_tried(attempts)],
        figures={"sabotaged_servers": [_shown(one) for one in attempts]},
        broken=[*accused, *(one.sentence for one in whole if not one.caught)],
    )


def _percent(right: Sequence[bool]) -> float | None:
    return 100 * sum(right) / len(right) if right else None


def _names_of(attempts: Sequence[Attempt]) -> str:
    return ", ".join(one.name for one in attempts)


def _tried(attempts: Sequence[Attempt]) -> Iterator[Covered]:
    for one in attempts:
        name = "nothing" if one.sabotage is None else one.sabotage.anomaly
        yield Covered(
            name=f"{name}: server {one.name}",
            kind="always",
            checked=1,
            held=int(one.caught),
            witness=one.witness,
        )


def _shown(one: Attempt) -> dict[str, str]:
    found = ", ".join(f"{name} {count}" for name, count in one.counts.items()) or "nothing"
    verdict = "right" if one.caught else "WRONG"
    return {"server": one.name, "convicted of": found, "verdict": verdict}


SCENARIO = Scenario(
    name="mutants",
    group="e2e",
    title="the judge on trial: planted anomalies, good histories, sabotaged servers",
    crowd=crowd,
    plan=foretell,
    run=run,
    judged=False,
)
