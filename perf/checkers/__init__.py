"""What a run's history proves or refutes. Pure: no I/O, no clock, nothing of the server."""

from perf.checkers.identity import NAMES, Judgement, Row, Stored, judge

__all__ = ["NAMES", "Judgement", "Row", "Stored", "judge"]
