"""The shapes of load that have names, as data: rates are multiples of the scenario's own rate.

The names are those of the field: smoke (does it work at all), average (a usual day), stress (above it),
soak (a usual day, for long), spike (a sudden crowd), breakpoint (up until it breaks).
"""

from __future__ import annotations

from perf.load.plan import Phase

PRESETS: dict[str, tuple[Phase, ...]] = {
    "smoke": (Phase(seconds=5, rate=0.1),),
    "average": (
        Phase(seconds=10, rate=0, to=1),
        Phase(seconds=60, rate=1),
        Phase(seconds=10, rate=1, to=0),
    ),
    "stress": (
        Phase(seconds=20, rate=0, to=3),
        Phase(seconds=60, rate=3),
        Phase(seconds=10, rate=3, to=0),
    ),
    "soak": (
        Phase(seconds=30, rate=0, to=1),
        Phase(seconds=3_600, rate=1),
        Phase(seconds=30, rate=1, to=0),
    ),
    "spike": (
        Phase(seconds=10, rate=1),
        Phase(seconds=5, rate=10),
        Phase(seconds=20, rate=1),
    ),
    "breakpoint": (Phase(seconds=120, rate=0, to=50),),
}


class UnknownPreset(Exception):
    """There is no preset of this name; the text lists those that there are."""


def phases_of(name: str, *, rate: float) -> list[Phase]:
    """The phases of a preset at this rate (requests a second). Raises UnknownPreset."""
    try:
        return [phase.scaled(rate) for phase in PRESETS[name]]
    except KeyError:
        raise UnknownPreset(
            f"there is no preset {name}: choose from {', '.join(PRESETS)}"
        ) from None
