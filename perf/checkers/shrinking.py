"""Makes a failing history small: the same anomaly, and no other than before, in as little as can be.

First only the offending conversation is kept, then devices, messages and single events are left out
by halves, quarters, and so on (Zeller's ddmin, "Simplifying and isolating failure-inducing input",
2002). When a message goes, the numbers of the later ones close up, so that no gap is left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import TypeVar

from perf.checkers.judgement import Witness
from perf.checkers.judging import judge
from perf.checkers.subsets import (
    only_conversation,
    without_devices,
    without_events,
    without_messages,
)
from perf.history.events import DeviceMade, RunBegan, RunEnded, Stay, StoredConversation
from perf.history.memory import History

T = TypeVar("T")

BUDGET_S = 20.0


def shrink(history: History, name: str, witness: Witness, *, budget_s: float = BUDGET_S) -> History:
    """The smallest history that was found in time and still has the anomaly of this name."""
    end = monotonic() + budget_s
    allowed = _named(history)
    small = history

    def holds(candidate: History) -> bool:
        found = _named(candidate)
        return name in found and found <= allowed

    if witness.conversation is not None:
        alone = only_conversation(history, witness.conversation)
        small = alone if holds(alone) else history
    before = -1
    while before != _size(small) and monotonic() < end:
        before = _size(small)
        small = _smaller(small, holds, end)
    return small


def _smaller(history: History, holds: Callable[[History], bool], end: float) -> History:
    """Leave out what can be left out: devices, then messages, then events."""
    devices = [made.device for made in history.all(DeviceMade)]
    history = _minimal(history, devices, without_devices, holds, end)
    history = _minimal(history, _messages(history), without_messages, holds, end)
    events = [
        id(event)
        for events in history.files
        for event in events
        if not isinstance(event, (RunBegan, DeviceMade, RunEnded))
    ]
    return _minimal(history, events, without_events, holds, end)


def _minimal(
    history: History,
    units: Sequence[T],
    without: Callable[[History, Sequence[T]], History],
    holds: Callable[[History], bool],
    end: float,
) -> History:
    """ddmin: leave out ever smaller parts of the units, for as long as the anomaly stays."""
    left, parts, smallest = list(units), 2, history
    while left and monotonic() < end:
        size = max(len(left) // parts, 1)
        for at in range(0, len(left), size):
            kept = left[:at] + left[at + size :]
            candidate = without(history, [unit for unit in units if unit not in set(kept)])
            if holds(candidate):
                left, smallest, parts = kept, candidate, max(parts - 1, 2)
                break
            if monotonic() > end:
                break
        else:
            if size == 1:
                break
            parts = min(parts * 2, len(left))
    return smallest


def _messages(history: History) -> list[str]:
    """Messages that can go: those that begin or end no stay."""
    bounds = {
        (stay.conversation, seq)
        for stay in history.all_stored(Stay)
        for seq in (stay.joined, stay.left)
    }
    return [
        row.id
        for line in history.all_stored(StoredConversation)
        for row in line.changes
        if (line.conversation, row.seq) not in bounds
    ]


def _named(history: History) -> frozenset[str]:
    judgement = judge(history.evidence())
    return frozenset(name for name, count in judgement.counts.items() if count)


def _size(history: History) -> int:
    return sum(map(len, history.files)) + sum(
        len(line.changes) for line in history.all_stored(StoredConversation)
    )
