"""The mutants: each makes one anomaly in a good history, and must be convicted by that name alone."""

from __future__ import annotations

from perf.checkers.planted import (
    in_claims,
    in_frames,
    in_marks,
    in_presence,
    in_sessions,
    in_store,
)
from perf.checkers.planted.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *in_frames.MUTANTS,
    *in_sessions.MUTANTS,
    *in_store.MUTANTS,
    *in_marks.MUTANTS,
    *in_presence.MUTANTS,
    *in_claims.MUTANTS,
)
