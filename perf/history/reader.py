"""Loads the history of a run into memory: all its files, and what was stored at the end.

Laws: a delivery costs 16 bytes and each distinct frame is kept once, so that a million deliveries
fit; page numbers become unique over the files; each device's events keep their order. A last line
that was cut off is left out, and counted. Which events mean what is the checkers' business.
"""

from __future__ import annotations

import gc
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from perf.history.events import (
    AnyEvent,
    AnyStored,
    Delivered,
    DeviceMade,
    MarkSeen,
    Page,
    RunBegan,
    RunEnded,
    Stay,
    StoredConversation,
    StoredMark,
)
from perf.history.rundir import RunDirectory

CHUNK_BYTES = 1 << 22  # read at once: bounds the memory of decoding

_decode_line = msgspec.json.Decoder(AnyEvent).decode
_decode_lines = msgspec.json.Decoder(AnyEvent).decode_lines
_decode_stored = msgspec.json.Decoder(AnyStored).decode


UNSEEN = (1 << 63) - 1
"""When a page was first seen that nobody saw."""


@dataclass(slots=True, eq=False)
class Log:
    """What one device did and saw, in order: `entries` are indices of `Evidence.pages`, or ~index of
    `Evidence.events`; `moments` are their times in ns."""

    device: DeviceMade
    worker: int
    moments: array[int] = field(default_factory=lambda: array("q"))
    entries: array[int] = field(default_factory=lambda: array("q"))


@dataclass(slots=True, eq=False)
class Sightings:
    """Marks of others that devices were shown, in the order of each device; columns of the same length.

    `conversations` and `devices` are indices of `Evidence.names`.
    """

    moments: array[int] = field(default_factory=lambda: array("q"))
    observers: array[int] = field(default_factory=lambda: array("i"))
    conversations: array[int] = field(default_factory=lambda: array("i"))
    devices: array[int] = field(default_factory=lambda: array("i"))
    delivered: array[int] = field(default_factory=lambda: array("q"))
    read: array[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.moments)


@dataclass(slots=True, eq=False)
class Evidence:
    """Everything that is known of a run."""

    runs: list[RunBegan] = field(default_factory=list)  # one for each file
    logs: dict[int, Log] = field(default_factory=dict)  # by the device's number
    pages: list[Page] = field(default_factory=list)
    first_seen: array[int] = field(default_factory=lambda: array("q"))  # of each page, ns
    events: list[AnyEvent] = field(default_factory=list)  # all but deliveries, pages and sightings
    sightings: Sightings = field(default_factory=Sightings)
    names: list[str] = field(default_factory=list)
    conversations: dict[str, StoredConversation] = field(default_factory=dict)
    stays: list[Stay] = field(default_factory=list)
    marks: list[StoredMark] = field(default_factory=list)
    compared: bool = False  # whether the database was read at the end
    cut: list[str] = field(default_factory=list)  # files without their last line
    blind: int = UNSEEN  # from when on (ns) one of these says nothing of its devices any more
    unreadable: int = 0  # lines

    @property
    def whole(self) -> bool:
        """Whether every file is as long as it was meant to be."""
        return not self.cut and not self.unreadable

    @property
    def deliveries(self) -> int:
        """Frames of changes that arrived at devices."""
        return sum(sum(1 for entry in log.entries if entry >= 0) for log in self.logs.values())


class Gatherer:
    """Builds `Evidence` from the events of one file after the other."""

    def __init__(self) -> None:
        self.evidence = Evidence()
        self._numbers = Numbers(self.evidence.names)
        self._pages: dict[int, int] = {}  # of this file: its number -> index
        self._logs: list[Log] = []  # of this file
        self._worker = 0
        self._ended = False

    def begin_file(self) -> None:
        """Another file begins."""
        self._pages, self._logs, self._ended = {}, [], False

    def end_file(self, name: str) -> None:
        """This file ends here."""
        if not self._ended:
            self.evidence.cut.append(name)
            last = max((log.moments[-1] for log in self._logs if log.moments), default=0)
            self.evidence.blind = min(self.evidence.blind, last)

    def take(self, events: Iterable[AnyEvent]) -> None:
        """Take events in the order of the file."""
        logs, first_seen, pages = self.evidence.logs, self.evidence.first_seen, self._pages
        for event in events:
            kind = type(event)
            if kind is Delivered:
                t, device, number = event.t, event.device, event.page  # type: ignore[union-attr]
                page, log = pages.get(number), logs.get(device)
                if page is None or log is None:
                    self.evidence.unreadable += 1
                    continue
                log.moments.append(t)
                log.entries.append(page)
                first_seen[page] = min(first_seen[page], t)
            elif kind is MarkSeen and event.device in logs:  # type: ignore[union-attr]
                self._sight(event)  # type: ignore[arg-type]
            else:
                self._take_other(event)

    def store(self, lines: Iterable[AnyStored]) -> None:
        """Take what the database had."""
        self.evidence.compared = True
        for line in lines:
            match line:
                case StoredConversation():
                    self.evidence.conversations[line.conversation] = line
                case Stay():
                    self.evidence.stays.append(line)
                case StoredMark():
                    self.evidence.marks.append(line)

    def _take_other(self, event: AnyEvent) -> None:
        evidence = self.evidence
        match event:
            case Page():
                self._pages[event.page] = len(evidence.pages)
                evidence.pages.append(event)
                evidence.first_seen.append(UNSEEN)
                return
            case RunBegan():
                self._worker = event.worker
                evidence.runs.append(event)
                return
            case DeviceMade():
                self._logs.append(Log(event, self._worker))
                evidence.logs[event.device] = self._logs[-1]
                return
            case RunEnded():
                self._ended = True
                return
        device = getattr(event, "device", None)
        if device is not None:
            log = evidence.logs.get(device)
            if log is None:  # the line that says who it is was lost
                evidence.unreadable += 1
                return
            log.moments.append(event.t)
            log.entries.append(~len(evidence.events))
        evidence.events.append(event)

    def _sight(self, event: MarkSeen) -> None:
        columns, numbers = self.evidence.sightings, self._numbers
        columns.moments.append(event.t)
        columns.observers.append(event.device)
        columns.conversations.append(numbers[event.conversation])
        columns.devices.append(numbers[event.of])
        columns.delivered.append(event.delivered)
        columns.read.append(event.read)


class Numbers(dict[str, int]):
    """Numbers names in the order in which they are first asked for, and lists them in `names`."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self._names = names

    def __missing__(self, name: str) -> int:
        number = self[name] = len(self._names)
        self._names.append(name)
        return number


def load(directory: RunDirectory | Path) -> Evidence:
    """Read a run's directory: history/*.jsonl and stored.jsonl. Raises OSError."""
    run = directory if isinstance(directory, RunDirectory) else RunDirectory(path=directory)
    gatherer = Gatherer()
    with uncollected():
        for path in sorted(run.history.glob("*.jsonl")):
            gatherer.begin_file()
            for events in read_events(path, gatherer.evidence):
                gatherer.take(events)
            gatherer.end_file(path.name)
        if run.stored.exists():
            gatherer.store(read_stored(run.stored))
    return gatherer.evidence


def read_events(path: Path, evidence: Evidence | None = None) -> Iterator[list[AnyEvent]]:
    """The events of a file, many at once; what can't be read is counted in the evidence. Raises OSError."""
    with path.open("rb") as file:
        for lines in _chunks(file):
            yield _decoded(lines, evidence if evidence is not None else Evidence())


def read_stored(path: Path) -> Iterator[AnyStored]:
    """What the database had, as it was written down. Raises OSError."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield _decode_stored(line)


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection: nothing of a history is cyclic, and looking for it costs a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def gather(files: Sequence[Sequence[AnyEvent]], stored: Iterable[AnyStored] | None) -> Evidence:
    """The same from memory: the events of each file, and what is stored (None: nobody looked)."""
    gatherer = Gatherer()
    for number, events in enumerate(files):
        gatherer.begin_file()
        gatherer.take(events)
        gatherer.end_file(f"{number}.jsonl")
    if stored is not None:
        gatherer.store(stored)
    return gatherer.evidence


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """The whole lines of a file, many at once; the rest of a line that was cut off comes last."""
    rest = b""
    while chunk := file.read(CHUNK_BYTES):
        whole, newline, rest = (rest + chunk).rpartition(b"\n")
        if newline:
            yield whole
    if rest:
        yield rest


def _decoded(lines: bytes, evidence: Evidence) -> list[AnyEvent]:
    """The events of these lines; what can't be read is counted and left out."""
    try:
        return _decode_lines(lines)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return list(_readable(lines, evidence))


def _readable(lines: bytes, evidence: Evidence) -> Iterator[AnyEvent]:
    for line in lines.split(b"\n"):
        try:
            yield _decode_line(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            evidence.unreadable += 1
