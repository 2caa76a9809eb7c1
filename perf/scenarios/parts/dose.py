"""How much load a fault is borne under, and for how long, in the full form and in the quick one."""

from __future__ import annotations

from perf.scenario import Options

STEADY, QUICK_STEADY = 2, 1  # conversations that talk and are timed; one more is restless
MEMBERS, QUICK_MEMBERS = 40, 20  # of each conversation, half of them on each server
# Requests a second of all steady devices. Load and servers take most of a core then, and 100,000 deliveries
# half a minute; on two busy cores three times that is overloaded before anything is broken.
RATE, QUICK_RATE = 80.0, 40.0
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


def members(options: Options) -> int:
    """Of each conversation, one device each."""
    return QUICK_MEMBERS if options.quick else MEMBERS
