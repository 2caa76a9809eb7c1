"""The settings of messaging, typed, with all defaults visible: `LOCKSTEP_MESSAGING` in Django's settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator may change."""

    allowed_origins: Sequence[str] = ()
    """Origins (`https://chat.example.org`) whose pages may open a socket, besides the server's own."""

    presence_members: int = 50
    """The members of conversations up to this size see each other's presence without asking; 0: only watch lists do."""


def current() -> Settings:
    """The settings in force. Raises TypeError for a name that does not exist."""
    return Settings(**getattr(settings, "LOCKSTEP_MESSAGING", {}))
