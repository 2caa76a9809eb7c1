"""Puts the judge on trial: planted-bad histories, good ones, and (with `sabotages`) real bad servers.

Counted under `anomalies` is only what was not caught: a run of mutants is valid when the judge
convicts each by its own name and acquits every good history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from perf.checkers import Judgement
from perf.checkers.planted.trials import Trial, try_good, try_mutants
from perf.coverage import Covered

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
