"""Who is typing: what this device says of its own user, and how long it believes what it hears of others.

Nothing of it is stored or repeated. A device says it at most every 3 s while its user types, and
believes it for 6 s, so that one lost frame changes nothing and a lost device stops by itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from messaging.protocol.client.happenings import Request, TypingChanged
from messaging.protocol.frames import Message, Send, Typed, Typing

SAY_MS = 3_000.0
BELIEVE_MS = 6_000.0
AGAIN_MS = (
    1_200.0  # begun anew it is said no sooner: a server shows it once a second, and drops the rest
)


class Typists:
    """The typing in the conversations of one session, by its own user and by others."""

    def __init__(self) -> None:
        self._wishes: dict[str, bool] = {}  # conversation -> what the application said last
        self._said: dict[str, float] = {}  # conversation -> ms at which "typing" was last sent
        self._begun: set[str] = set()  # conversations in which that was not ended since
        self._others: dict[tuple[str, str], float] = {}  # (conversation, user) -> ms of its end

    @property
    def deadline(self) -> float | None:
        """The moment (ms) at which the next one counts as stopped, or is said; None if there is none."""
        if not (self._others or self._wishes):
            return None
        begins = [self._said.get(conversation, 0.0) + AGAIN_MS for conversation in self._wishes]
        return min([*self._others.values(), *begins])

    def others(self, conversation: str) -> list[str]:
        """The other users who are typing in a conversation, in the order in which they began."""
        return [user for lane, user in self._others if lane == conversation]

    def say(self, conversation: str, *, typing: bool = True) -> None:
        """The user pressed a key in a conversation, or gave the draft up."""
        self._wishes[conversation] = typing

    def sent(self, requests: Iterable[Request]) -> None:
        """Messages go out: each ends the typing in its conversation for everybody, without a frame."""
        if not (self._wishes or self._begun):
            return
        for request in requests:
            if isinstance(request, Send):
                self._forget(request.conversation)

    def due(self, now: float) -> list[Typing]:
        """The frames to send at this moment (ms)."""
        frames = [
            Typing(conversation=conversation, typing=typing)
            for conversation, typing in self._wishes.items()
            if (self._begins(conversation, now) if typing else self._ends(conversation, now))
        ]
        # What was begun anew too soon waits for its moment.
        waiting = {one for one, typing in self._wishes.items() if typing} - self._begun
        self._wishes = dict.fromkeys(waiting, True)
        return frames

    def _begins(self, conversation: str, now: float) -> bool:
        pause = SAY_MS if conversation in self._begun else AGAIN_MS
        if now < self._said.get(conversation, -pause) + pause:
            return False
        self._said[conversation] = now
        self._begun.add(conversation)
        return True

    def _ends(self, conversation: str, now: float) -> bool:
        if conversation not in self._begun:
            return False
        self._begun.remove(conversation)
        return now < self._said[conversation] + BELIEVE_MS

    def heard(self, frame: Typed, now: float) -> list[TypingChanged]:
        """The server told of somebody else."""
        key = (frame.conversation, frame.user)
        if not frame.typing:
            return self._stop([key])
        is_news = key not in self._others
        self._others[key] = now + BELIEVE_MS
        return [_changed(key, typing=True)] if is_news else []

    def arrived(self, conversation: str, messages: Iterable[Message]) -> list[TypingChanged]:
        """Who has sent what they were typing, types no more."""
        if not self._others:
            return []
        return self._stop([(conversation, message.user or "") for message in messages])

    def over(self, now: float) -> list[TypingChanged]:
        """Those whom nothing was heard of for too long at this moment (ms)."""
        return self._stop([key for key, end in self._others.items() if end <= now])

    def leave(self, conversation: str) -> list[TypingChanged]:
        """The conversation is left, or starts anew."""
        self._forget(conversation)
        return self._stop([key for key in self._others if key[0] == conversation])

    def lose(self) -> list[TypingChanged]:
        """The connection is lost: nobody is known to type."""
        self._wishes.clear()
        self._said.clear()
        self._begun.clear()
        return self._stop(list(self._others))

    def _forget(self, conversation: str) -> None:
        self._wishes.pop(conversation, None)
        self._begun.discard(conversation)

    def _stop(self, keys: Iterable[tuple[str, str]]) -> list[TypingChanged]:
        stopped = [key for key in keys if self._others.pop(key, None) is not None]
        return [_changed(key, typing=False) for key in stopped]


def _changed(key: tuple[str, str], *, typing: bool) -> TypingChanged:
    return TypingChanged(conversation=key[0], user=key[1], typing=typing)
