"""How much load a fault is borne under, and for how long, in the full form and in the quick one."""

from __future__ import annotations

from perf.scenario import Options

STEADY, QUICK_STEADY = 4, 1  # conversations that talk and are timed; one more is restless
RATE, QUICK_RATE = 250.0, 40.0  # requests a second of all steady devices
WANTED, QUICK_WANTED = 100_000, 2_000  # deliveries to be checked
CALM_S, QUICK_CALM_S = 4.0, 2.0


def calm_s(options: Options) -> float:
    """How long it is calm before."""
    return QUICK_CALM_S if options.quick else CALM_S


def rate_of(options: Options) -> float:
    """Requests a second."""
    return options.rate or (QUICK_RATE if options.quick else RATE)


def wanted(options: Options) -> int:
    """Deliveries that are to be checked for each fault."""
    return QUICK_WANTED if options.quick else WANTED


def conversations(options: Options) -> int:
    """Of each fault, the restless one included."""
    return 1 + (QUICK_STEADY if options.quick else STEADY)
