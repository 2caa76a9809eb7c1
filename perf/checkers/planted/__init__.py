"""Histories whose verdict is known beforehand: good ones from a tiny model, and bad ones made of them."""

from perf.checkers.planted.faults import MUTANTS
from perf.checkers.planted.model import Model, Step, story
from perf.checkers.planted.mutant import Mutant
from perf.history.memory import History

__all__ = ["MUTANTS", "History", "Model", "Mutant", "Step", "story"]
