"""What the devices of a run saw and were promised, as `checkers` judges it afterwards.

A device's log is a list of pages: the range of a frame of changes, and the identities in it.
Devices of a conversation get the same pages, and share them in memory: the log of 300,000
deliveries a second costs no more than that of the 30,000 messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Entry(NamedTuple):
    """One message of a page."""

    seq: int
    id: str
    client_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Page:
    """The changes of a conversation in (since, upto], as one frame brought them."""

    conversation: str
    since: int
    upto: int
    entries: tuple[Entry, ...]


class Promise(NamedTuple):
    """An `ok`: the server says that this message is stored, and where."""

    device: str
    client_id: str
    message: str
    seq: int


@dataclass(slots=True)
class Log:
    """What one device applied, in order. `starts` are the cursors it began with."""

    device: str
    starts: dict[str, int] = field(default_factory=dict)
    pages: list[Page] = field(default_factory=list)
    repeats: int = 0  # frames that brought nothing new: harmless, but they cost
    holes: int = 0  # frames that began beyond the cursor: a conforming server sends none


@dataclass(slots=True)
class History:
    """One run's evidence. `sent` tells which device made a client_id."""

    logs: dict[str, Log] = field(default_factory=dict)
    promises: list[Promise] = field(default_factory=list)
    sent: dict[str, str] = field(default_factory=dict)
