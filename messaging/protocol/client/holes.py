"""What a client missed in the middle of a feed, and is asking for.

A conforming server never leaves a hole. Where there is one all the same, the client asks `sync`
from its cursor, once until answered, and again while what was seen beyond the hole is not reached.
"""

from __future__ import annotations

AGAIN_MS = 250.0  # least wait before a refused `sync` is repeated


class Holes:
    """The holes of one session, by conversation."""

    def __init__(self) -> None:
        self._wanted: dict[str, int] = {}  # the greatest upto seen beyond the hole
        self._asked: dict[str, int] = {}  # the ref of the unanswered sync
        self._again: dict[str, float] = {}  # the moment (ms) to ask once more
        self._refs = 0

    def __bool__(self) -> bool:
        return bool(self._wanted or self._asked)

    @property
    def deadline(self) -> float | None:
        """The moment (ms) of the next repeated question, or None."""
        return min(self._again.values(), default=None)

    def beyond(self, conversation: str, upto: int) -> None:
        """A frame came that starts beyond the cursor and ends at `upto`."""
        self._wanted[conversation] = max(upto, self._wanted.get(conversation, 0))

    def answered(self, conversation: str, ref: str | int | None) -> None:
        """Events came that echo `ref`."""
        if ref is not None and self._asked.get(conversation) == ref:
            del self._asked[conversation]

    def question(self, conversation: str, cursor: int) -> int | None:
        """The ref of the `sync` to send now, from this cursor; None if there is nothing to ask."""
        if self._wanted.get(conversation, 0) <= cursor:
            self._wanted.pop(conversation, None)
            return None
        if conversation in self._asked or conversation in self._again:
            return None
        self._refs += 1
        self._asked[conversation] = self._refs
        return self._refs

    def refused(self, ref: str | int | None, *, again: float | None) -> bool:
        """A question was refused: ask again at that moment (ms), or never. False if `ref` is none of ours."""
        conversation = next((c for c, asked in self._asked.items() if asked == ref), None)
        if conversation is None:
            return False
        del self._asked[conversation]
        if again is None:
            self._wanted.pop(conversation, None)
        else:
            self._again[conversation] = again
        return True

    def due(self, now: float) -> list[str]:
        """The conversations to ask for once more at this moment (ms)."""
        over = [conversation for conversation, moment in self._again.items() if moment <= now]
        for conversation in over:
            del self._again[conversation]
        return over

    def drop(self, conversation: str) -> None:
        """The conversation was left or starts anew."""
        for by_conversation in (self._wanted, self._asked, self._again):
            by_conversation.pop(conversation, None)
