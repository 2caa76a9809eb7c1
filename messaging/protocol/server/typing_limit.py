"""How often a session may say that its user is typing: a rule without a clock.

Between two ticks (1 s) each conversation is told each of the two things once. What is dropped is told by
the client's next repeat, or by the receiver's patience running out.
"""

from __future__ import annotations

from messaging.protocol.frames import Typing


class TypingLimit:
    """What a session said since the last tick; bounded by its conversations."""

    __slots__ = ("_said",)

    def __init__(self) -> None:
        self._said: set[tuple[str, bool]] = set()

    def admits(self, frame: Typing) -> bool:
        """Whether to show it; then a repeat waits for the next tick."""
        said = (frame.conversation, frame.typing)
        if said in self._said:
            return False
        self._said.add(said)
        return True

    def tick(self) -> None:
        """A second has passed."""
        self._said.clear()
