"""Mutants that a judge would overlook who takes the server's word: that a user has left, where a feed begins."""

from __future__ import annotations

import random

from perf.checkers.planted.in_sessions import stays_of
from perf.checkers.planted.mutant import (
    Mutant,
    arrivals,
    final,
    insert_before,
    newest,
    set_cursor,
    shuffled,
)
from perf.history.events import Cursors, Removed
from perf.history.memory import History


def _send_away(history: History, chance: random.Random) -> bool:
    """A device is told that its user has left, who has not, and gets nothing more."""
    rows = newest(history)
    for one in shuffled(arrivals(history), chance):
        device, name, since = one.event.device, one.page.conversation, one.page.since
        stays = stays_of(history, device, name)
        brings = any(rows[change.id] == change for change in one.page.changes)
        if one.last and brings and final(history, one) and stays[-1].left is None:
            history.replace(one.event, Removed(one.event.t, device, name, since))
            set_cursor(history, device, name, since)
            return True
    return False


def _send_away_at_last(history: History, chance: random.Random) -> bool:
    """A device that has everything is told in the end that its user has left, who has not."""
    for end in shuffled(history.all(Cursors), chance):
        for name, cursor in end.cursors.items():
            stays = stays_of(history, end.device, name)
            if end.connected and stays[-1].left is None:
                insert_before(history, end, Removed(end.t - 1, end.device, name, cursor))
                return True
    return False


MUTANTS = (
    Mutant("lost", "a device is told that its user has left, who has not", _send_away),
    Mutant(
        "inconsistent", "a device ends as one whose user has left, who has not", _send_away_at_last
    ),
)
