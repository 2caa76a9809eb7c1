"""When a fault begins and how long it lasts: from the seed and its name alone. And several in a row: from the seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import NamedTuple

SPREAD_S = 1.0  # of the moment at which it begins
PAUSE_S = (1.0, 5.0)  # between two of a row


class Moment(NamedTuple):
    """So many seconds after the calm phase it begins, and so long it lasts."""

    after_s: float
    hold_s: float


def moment(seed: int, name: str, hold_s: tuple[float, float]) -> Moment:
    """The moment of the fault of this name, which lasts at least and at most `hold_s`."""
    dice = random.Random(f"{seed} {name}")
    return Moment(round(dice.uniform(0, SPREAD_S), 3), round(dice.uniform(*hold_s), 3))


class Step(NamedTuple):
    """One fault of a row: it begins so many seconds after the last one ended."""

    name: str
    pause_s: float
    hold_s: float


def steps(seed: int, hold_s: Mapping[str, tuple[float, float]], *, count: int) -> list[Step]:
    """So many different ones of these faults, in an order of the seed's."""
    dice = random.Random(f"{seed} row")
    chosen = dice.sample(sorted(hold_s), min(count, len(hold_s)))
    return [
        Step(name, round(dice.uniform(*PAUSE_S), 3), round(dice.uniform(*hold_s[name]), 3))
        for name in chosen
    ]
