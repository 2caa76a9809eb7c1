"""The settings of messaging, typed, with all defaults visible: `LOCKSTEP_MESSAGING` in Django's settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings

FILE_TYPES = (
    "text/plain",
    "text/csv",
    "text/markdown",
    "application/json",
    "application/epub+zip",
    "application/vnd.oasis.opendocument.text",
    "application/vnd.oasis.opendocument.spreadsheet",
    "application/vnd.oasis.opendocument.presentation",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "audio/mp4",
    "audio/webm",
    "video/ogg",
    "video/quicktime",
    "image/heic",
    "image/avif",
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator may change."""

    allowed_origins: Sequence[str] = ()
    """Origins (`https://chat.example.org`) whose pages may open a socket, besides the server's own."""

    presence_members: int = 50
    """The members of conversations up to this size see each other's presence without asking; 0: only watch lists do."""

    file_bytes: int = 26_214_400
    """Most bytes of one file: 25 MiB, what mail servers commonly take."""

    file_types: Sequence[str] = FILE_TYPES
    """MIME types that the sender of a file is believed where its first bytes don't tell; others become `application/octet-stream`."""

    only_file_types: bool = False
    """Refuse files of other types than those, and than the ones that `messaging.files.kinds` tells by themselves."""

    files_waiting: int = 100
    """Most uploads of a user that no message has taken yet: ten messages full of files."""

    file_hours: float = 24.0
    """Hours after which `clean_files` removes an upload that no message has taken."""


def current() -> Settings:
    """The settings in force. Raises TypeError for a name that does not exist."""
    return Settings(**getattr(settings, "LOCKSTEP_MESSAGING", {}))
