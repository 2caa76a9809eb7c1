"""The settings of presence, typed, with all defaults visible: `LOCKSTEP_PRESENCE` in Django's settings."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator may change; the same in all processes."""

    offline_after_s: float = 2.0
    """For so long after somebody's last session ended they are still shown: who is back by then was never away."""

    lease_s: float = 6.0
    """So long after its last beat a server process counts as live; one that was killed is not missed earlier (G7)."""

    beat_s: float = 2.0
    """How often a process renews its lease; at most a third of `lease_s`, so that one beat may be lost."""


def current() -> Settings:
    """The settings in force. Raises TypeError for a name that does not exist."""
    return Settings(**getattr(settings, "LOCKSTEP_PRESENCE", {}))
