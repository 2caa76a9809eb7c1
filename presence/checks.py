"""Django system checks: settings with which presence would not be what it promises."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.core.checks import CheckMessage

from presence import conf

OURS = "lockstep"  # the tag of what has to be so before anybody is served
BEATS = 3  # in a lease: one may be lost, and the next one be late


def register() -> None:
    """Register all checks of this module."""
    checks.register(check_settings, OURS)


def check_settings(**_: Any) -> list[CheckMessage]:
    """`LOCKSTEP_PRESENCE`: names that exist, times that fit."""
    try:
        given = conf.current()
    except TypeError as error:
        unknown = checks.Error(
            f"LOCKSTEP_PRESENCE: {error}.",
            hint="Its names are those of presence.conf.Settings; see docs/presence.md.",
            id="presence.E001",
        )
        return [unknown]
    if given.beat_s <= 0 or given.offline_after_s < 0 or given.lease_s < BEATS * given.beat_s:
        unfit = checks.Error(
            f"LOCKSTEP_PRESENCE: a lease of {given.lease_s:g} s does not fit beats every {given.beat_s:g} s,"
            f" or an absence is shown after {given.offline_after_s:g} s.",
            hint=f"beat_s is above 0, lease_s at least {BEATS} beats, offline_after_s not below 0.",
            id="presence.E002",
        )
        return [unfit]
    return []
