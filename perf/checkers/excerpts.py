"""The lines of a history that show what a witness speaks of: as few as can be, in the order of time."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from perf.checkers.judgement import Judgement, Witness
from perf.history.events import Acked, Added, AnyEvent, Cursors, Delivered, Opened, Removed, Reset
from perf.history.reader import Evidence, Log

MOST_LINES = 12
MOST_CHARACTERS = 400  # of one line: a page may have hundreds of changes

_encode = msgspec.json.Encoder().encode


def add(evidence: Evidence, judgement: Judgement) -> None:
    """Give each anomaly's first witness its lines."""
    for name, witnesses in judgement.found.items():
        lines = list(_lines(evidence, witnesses[0]))
        judgement.excerpts[name] = [line[:MOST_CHARACTERS] for line in lines[:MOST_LINES]]


def _lines(evidence: Evidence, witness: Witness) -> Iterator[str]:
    """What the device was sent around these changes, and what was promised of them."""
    found: list[tuple[int, AnyEvent]] = []
    log = evidence.logs.get(witness.device or 0)
    if log is not None:
        found.extend(_of_device(evidence, log, witness))
    found.extend(
        (event.t, event)
        for event in evidence.events
        if isinstance(event, Acked) and event.seq in witness.seqs and event.device != witness.device
    )
    for _, event in sorted(found, key=lambda one: one[0]):
        yield _encode(event).decode()


def _of_device(evidence: Evidence, log: Log, witness: Witness) -> Iterator[tuple[int, AnyEvent]]:
    low, high = min(witness.seqs, default=0), max(witness.seqs, default=0)
    written: set[int] = set()
    opened: Opened | None = None
    for moment, entry in zip(log.moments, log.entries, strict=True):
        if entry < 0:
            event = evidence.events[~entry]
            if isinstance(event, Opened):
                opened = event
            elif _concerns(event, witness):
                yield moment, event
            continue
        page = evidence.pages[entry]
        if page.conversation == witness.conversation and page.since <= high and page.upto >= low:
            if opened is not None:
                yield opened.t, _only(opened, page.conversation)
                opened = None
            if entry not in written:
                written.add(entry)
                yield moment, msgspec.structs.replace(page, page=entry)
            yield moment, Delivered(moment, log.device.device, entry)


def _only(opened: Opened, conversation: str) -> Opened:
    """The cursors of one conversation are enough."""
    return msgspec.structs.replace(
        opened,
        hello={name: seq for name, seq in opened.hello.items() if name == conversation},
        welcome={name: seq for name, seq in opened.welcome.items() if name == conversation},
    )


def _concerns(event: AnyEvent, witness: Witness) -> bool:
    if isinstance(event, (Added, Removed, Reset)):
        return event.conversation == witness.conversation
    if isinstance(event, Acked):
        return event.seq in witness.seqs
    return isinstance(event, Cursors) and witness.conversation in event.cursors
