"""When a fault begins and how long it lasts: from the seed and its name alone."""

from __future__ import annotations

import random
from typing import NamedTuple

SPREAD_S = 1.0  # of the moment at which it begins


class Moment(NamedTuple):
    """So many seconds after the calm phase it begins, and so long it lasts."""

    after_s: float
    hold_s: float


def moment(seed: int, name: str, hold_s: tuple[float, float]) -> Moment:
    """The moment of the fault of this name, which lasts at least and at most `hold_s`."""
    dice = random.Random(f"{seed} {name}")
    return Moment(round(dice.uniform(0, SPREAD_S), 3), round(dice.uniform(*hold_s), 3))
