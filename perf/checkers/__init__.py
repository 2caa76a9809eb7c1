"""What a run's history proves or refutes. Pure: no I/O, no clock, nothing of the server."""

from perf.checkers.judgement import Judgement, Ledger, Liveness
from perf.checkers.judging import judge
from perf.checkers.names import NAMES, PROPERTIES, SECURITY, SOMETIMES, TOLERATED

__all__ = [
    "NAMES",
    "PROPERTIES",
    "SECURITY",
    "SOMETIMES",
    "TOLERATED",
    "Judgement",
    "Ledger",
    "Liveness",
    "judge",
]
