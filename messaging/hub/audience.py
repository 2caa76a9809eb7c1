"""Whether anybody outside this process hears a group of the bus: what nobody hears is not published.

Redis says with each publication how many processes heard it. Where only this one did, the next ones are
withheld for BELIEVED_S, then it is asked again by publishing. Another hub says with its nonce that it has
entered, and is told what it may have missed; whoever else enters hears what is published after BELIEVED_S.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

BELIEVED_S = 0.5


@dataclass(slots=True)
class _Group:
    """`alone_until` and `came`, when another hub entered, by the clock; `withheld`, the last change that was."""

    alone_until: float = 0.0
    came: float = 0.0
    withheld: int = 0


class Audience:
    """Of the groups that this process hears itself: in any other it would not hear who enters."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.now = clock
        self._groups: dict[str, _Group] = {}

    def entered(self, group: str) -> None:
        """We hear the group: our own nonce has come back."""
        self._groups.setdefault(group, _Group())

    def left(self, group: str) -> None:
        """We may not hear the group any more."""
        self._groups.pop(group, None)

    def counted(self, group: str, heard: int, *, since: float) -> None:
        """So many processes, this one among them, heard what was published after the moment `since`.

        None at all means that this one does not hear it either, so it would not know who enters.
        """
        known = self._groups.get(group)
        if known is not None:
            alone = heard == 1 and known.came < since
            known.alone_until = self.now() + BELIEVED_S if alone else 0.0

    def lacks(self, group: str, upto: int = 0) -> bool:
        """Whether nobody would hear it; the change number `upto` is noted as withheld then."""
        known = self._groups.get(group)
        if known is None or self.now() >= known.alone_until:
            return False
        known.withheld = max(known.withheld, upto)
        return True

    def came(self, group: str) -> int:
        """Another hub has entered. Returns the last change that was withheld and that it may have missed, or 0."""
        known = self._groups.get(group)
        if known is None:
            return 0
        missed, known.withheld = known.withheld, 0
        known.alone_until, known.came = 0.0, self.now()
        return missed
