"""Tries the judge itself: it must acquit every good history and convict every mutant by its name alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from perf.checkers.judgement import Judgement
from perf.checkers.judging import judge
from perf.checkers.planted.faults import MUTANTS
from perf.checkers.planted.model import story
from perf.checkers.planted.mutant import Mutant
from perf.history.memory import History
from perf.history.reader import Evidence

STEPS = 250  # of each history: long enough for most mutants to find an opportunity
ATTEMPTS = 200  # histories in which an opportunity is looked for

Judge = Callable[[Evidence], Judgement]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One mutant in one history. `found`: the anomalies that the judge named; `seed` repeats it."""

    mutant: Mutant
    seed: int
    found: frozenset[str]

    @property
    def caught(self) -> bool:
        """Whether it was convicted by its name and by no other."""
        return self.found == {self.mutant.anomaly}

    @property
    def sentence(self) -> str:
        """What came of it."""
        names = ", ".join(sorted(self.found)) or "nothing"
        return f"{self.mutant.title} (seed {self.seed}): {self.mutant.anomaly} was planted, {names} found"


def try_mutants(*, seed: int, times: int, judged: Judge = judge) -> Iterator[Trial]:
    """Plant each mutant in so many histories and judge them; `judged` is the judge on trial."""
    for mutant in MUTANTS:
        planted = 0
        for at in range(seed, seed + ATTEMPTS):
            if planted == times:
                break
            history = plant(mutant, seed=at)
            if history is not None:
                planted += 1
                yield Trial(mutant=mutant, seed=at, found=named(judged(history.evidence())))
        if not planted:
            raise LookupError(f"no history offers an opportunity for: {mutant.title}")


def plant(mutant: Mutant, *, seed: int) -> History | None:
    """The history of this seed with the mutant in it; None if it offers no opportunity."""
    history = _good(seed).copy()
    return history if mutant.plant(history, random.Random(seed)) else None


@lru_cache(maxsize=32)  # every mutant begins with the same seeds
def _good(seed: int) -> History:
    return story(seed, steps=STEPS)


def try_good(*, seed: int, times: int, judged: Judge = judge) -> Iterator[tuple[int, Judgement]]:
    """Judge so many good histories; return those that were not acquitted, by seed."""
    for at in range(seed, seed + times):
        judgement = judged(story(at, steps=STEPS).evidence())
        if judgement.anomalies or not judgement.ledger.balanced:
            yield at, judgement


def named(judgement: Judgement) -> frozenset[str]:
    """The anomalies that were found."""
    return frozenset(name for name, count in judgement.counts.items() if count)
