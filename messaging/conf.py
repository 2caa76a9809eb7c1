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

    retention_days: float | None = None
    """Days after which `retain` makes a tombstone of a message; None: it stays."""

    purge_days: float | None = None
    """Days after which `retain` removes a tombstone for real; devices that were away for longer start anew. None: it stays."""

    # Overload (docs/decisions/0012-overload.md). Each is of one server process; 0 bounds nothing.

    connections: int = 20_000
    """Most open WebSockets; twice what one process was seen to hold."""

    handshakes_per_s: float = 500.0
    """Most new WebSockets a second, and `burst_s` seconds' worth at once; a process opens 100 to 200 sessions a second."""

    hello_wait_s: float = 3.0
    """Longest that a hello is to wait for its turn, as far as one can know; clients give up after 10 s."""

    device_writes_per_s: float = 1_000.0
    """Sends, edits and deletions of one device, over the socket and REST together; a process stores some 10,000."""

    user_writes_per_s: float = 2_000.0
    """The same of all devices of one user."""

    device_requests_per_s: float = 200.0
    """`sync`, `presence.set` and `presence.watch` of one device."""

    device_hints_per_s: float = 500.0
    """`receipt`, `typing` and `ping` of one device; a device that is sent 10,000 messages a second says 40."""

    device_calls_per_s: float = 100.0
    """REST calls of one device; a process answers some 50 to 100 of all."""

    user_calls_per_s: float = 200.0
    """The same of all devices of one user."""

    burst_s: float = 5.0
    """Seconds' worth of each of these that may come at once, after a pause as long."""

    shed_lag_s: float = 0.5
    """Lag of the event loop from which on few devices come in at a time; at twice that history is refused, at four times typing and presence."""


def current() -> Settings:
    """The settings in force. Raises TypeError for a name that does not exist."""
    return Settings(**getattr(settings, "LOCKSTEP_MESSAGING", {}))
