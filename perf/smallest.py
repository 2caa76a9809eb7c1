"""From a judged run to the smallest histories of its anomalies: written beside it, runs of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

from perf.checkers.judgement import Judgement
from perf.checkers.shrinking import shrink
from perf.checkers.subsets import narrowed
from perf.history.events import AnyEvent
from perf.history.memory import History
from perf.history.reader import read_events, read_stored, uncollected
from perf.history.rundir import RunDirectory

BUDGET_S = 20.0  # for all anomalies of a run together
MOST_EVENTS = 500_000  # of a conversation: more than that is not even tried


def write_smallest(
    directory: RunDirectory, judgement: Judgement, *, budget_s: float = BUDGET_S
) -> dict[str, Path]:
    """Shrink the first witness of each anomaly; return where each small history is. Raises OSError.

    Anomalies that concern no single conversation are left as they are.
    """
    found: dict[str, Path] = {}
    end = monotonic() + budget_s
    wanted = {
        name: witnesses[0]
        for name, witnesses in judgement.found.items()
        if witnesses[0].conversation is not None
    }
    with uncollected():
        for at, (name, witness) in enumerate(wanted.items()):
            share = (end - monotonic()) / (len(wanted) - at)
            history = read(directory, witness.conversation or "")
            if share > 0 and sum(map(len, history.files)) <= MOST_EVENTS:
                run = directory.smallest_of(name)
                shrink(history, name, witness, budget_s=share).write(run)
                found[name] = run.path
    return found


def read(directory: RunDirectory, conversation: str) -> History:
    """What a run's history says of one conversation. Raises OSError."""
    files = [
        list(narrowed(_events(path), conversation))
        for path in sorted(directory.history.glob("*.jsonl"))
    ]
    stored = None
    if directory.stored.exists():
        stored = [
            line for line in read_stored(directory.stored) if line.conversation == conversation
        ]
    return History(files, stored)


def _events(path: Path) -> Iterator[AnyEvent]:
    for events in read_events(path):
        yield from events
