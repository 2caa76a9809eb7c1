"""A device's view of each of its conversations, as the one rule makes it."""

from __future__ import annotations

from dataclasses import dataclass, field

from perf.checkers import prose
from perf.checkers.judgement import Judgement
from perf.checkers.truth import Thread
from perf.history.reader import Log

NEVER = -1


@dataclass(slots=True, eq=False)
class View:
    """One device's view of one conversation: everything in (start, cursor]."""

    thread: Thread | None
    limit: int  # the last change that its user may see
    start: int
    cursor: int
    quick: int = NEVER  # frames up to here need no closer look; NEVER: each does
    fresh: bool = True  # nothing new has come since the session began
    fence: int | None = None  # it was told that its user left with this change
    hole: tuple[int, int] | None = (
        None  # a frame began at the second, beyond the cursor at the first
    )
    asked: int = 0  # up to here an overlap is the answer to a question about a hole
    replayed: bool = False
    beyond: list[int] = field(default_factory=list)  # pages that arrived and could not be applied
    lost: set[int] = field(default_factory=set)

    def settle(self) -> None:
        """Decide whether frames need a closer look."""
        plain = self.thread is not None and not self.thread.since_joined
        calm = not self.fresh and self.fence is None and self.hole is None and not self.asked
        self.quick = self.limit if plain and calm else NEVER


@dataclass(slots=True, eq=False)
class Seat:
    """One device and all its views."""

    log: Log
    views: dict[str, View] = field(default_factory=dict)
    sessions: int = 0
    connected: bool | None = None  # at the end; None: it did not say
    ended: int = 0  # the moment (ns) when it said so


def lose(judgement: Judgement, seat: Seat, view: View, seq: int, reason: str) -> None:
    """Convict of a change that a device never got."""
    assert view.thread is not None
    judgement.convict(
        "lost",
        f"{prose.device(seat.log)} never received change {seq} of conversation {view.thread.name}: "
        f"{reason}.",
        conversation=view.thread.name,
        device=seat.log.device.device,
        seqs=(seq,),
    )
