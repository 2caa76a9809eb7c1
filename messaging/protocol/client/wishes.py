"""What the server is to know of this session's user, of which only the newest form counts: presence, the watch list.

Laws: one frame of a kind is under way at a time; what is wished meanwhile goes out together, after its
answer. A wish lasts until it is answered, over reconnects. How others are is in `others`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from messaging.protocol.client.happenings import PresenceAnswered
from messaging.protocol.content import check_status
from messaging.protocol.frames import Error, Here, PresenceSet, PresenceWatch, Reference

Wished: TypeAlias = PresenceSet | PresenceWatch


class Wishes:
    """What the application wishes the server to know; calls are numbered, so that an answer can name them."""

    def __init__(self) -> None:
        self.state: Here = "online"
        self.watched: list[str] = []
        self._set, self._watch = Wish(PresenceSet, "set"), Wish(PresenceWatch, "watch")
        self._both = (self._set, self._watch)
        self._calls = 0

    def set(
        self,
        *,
        state: Here | None = None,
        text: str | None = None,
        until: int | None = None,
        invisible: bool | None = None,
    ) -> int:
        """Say how the user is here; None leaves it as it is. Raises `Refused` if the text can't be stored."""
        if text is not None:
            check_status(text)
        self.state = state or self.state
        given = {"state": state, "text": text, "until": until, "invisible": invisible}
        return self._want(self._set, {key: one for key, one in given.items() if one is not None})

    def watch(self, users: Iterable[str]) -> int:
        """Watch exactly these users, besides those whom the server shows anyway."""
        self.watched = list(users)
        return self._want(self._watch, {"users": self.watched})

    def _want(self, wish: Wish, fields: Mapping[str, Any]) -> int:
        self._calls += 1
        wish.want(self._calls, fields)
        return self._calls

    def restart(self) -> None:
        """A new session is open: it is online and watches nobody, unless it is told otherwise."""
        self._set.restart({} if self.state == "online" else {"state": self.state})
        self._watch.restart({"users": self.watched} if self.watched else {})

    @property
    def deadline(self) -> float | None:
        """The moment (ms) of the next repeated wish, or None."""
        return min((wish.until for wish in self._both if wish.until is not None), default=None)

    def due(self, now: float) -> list[Wished]:
        """The frames to send at this moment (ms)."""
        return [frame for wish in self._both if (frame := wish.due(now)) is not None]

    def answered(self, ref: Reference | None, error: Error | None = None) -> list[PresenceAnswered]:
        """The server took a wish, or refused it for good; empty if the ref is none of ours."""
        wish = self._under_way(ref)
        return [PresenceAnswered(calls=wish.land(), error=error)] if wish else []

    def refused(self, error: Error, *, again: float | None) -> list[PresenceAnswered]:
        """A wish was refused: send it again at that moment (ms), or never."""
        wish = self._under_way(error.ref)
        if wish is None or again is None:
            return self.answered(error.ref, error)
        wish.take_back()
        wish.until = again
        return []

    def has(self, ref: Reference | None) -> bool:
        """Whether an answer with this ref is for a wish."""
        return self._under_way(ref) is not None

    def _under_way(self, ref: Reference | None) -> Wish | None:
        return next((wish for wish in self._both if wish.ref == ref and ref is not None), None)


class Wish:
    """The fields of one kind of frame that the server is to have."""

    __slots__ = (
        "_calls",
        "_flying",
        "_flying_calls",
        "_kind",
        "_make",
        "_sent",
        "_wanted",
        "ref",
        "until",
    )

    def __init__(self, make: Callable[..., Wished], kind: str) -> None:
        self._make, self._kind = make, kind
        self._wanted: dict[str, Any] = {}
        self._calls: list[int] = []  # whose answer is that of `_wanted`
        self._flying: dict[str, Any] = {}
        self._flying_calls: list[int] = []
        self._sent = 0
        self.ref: str | None = None  # of the frame under way
        self.until: float | None = None  # ms until which nothing is sent

    def want(self, call: int, fields: Mapping[str, Any]) -> None:
        """Wish for these fields."""
        self._wanted.update(fields)
        self._calls.append(call)

    def due(self, now: float) -> Wished | None:
        """The frame to send at this moment (ms). One without fields only asks for an answer."""
        if self.until is not None and now >= self.until:
            self.until = None
        is_wanted = self._wanted or self._calls
        if not is_wanted or self.ref is not None or self.until is not None:
            return None
        self._sent += 1
        self.ref = f"{self._kind}-{self._sent}"
        self._flying, self._wanted = self._wanted, {}
        self._flying_calls, self._calls = self._calls, []
        return self._make(**self._flying, ref=self.ref)

    def land(self) -> list[int]:
        """The frame under way was answered; returns the calls that it was for."""
        calls = self._flying_calls
        self.ref, self._flying, self._flying_calls = None, {}, []
        return calls

    def take_back(self) -> None:
        """What was under way is wished for again, unless something newer was."""
        self._wanted = self._flying | self._wanted
        self._calls = self._flying_calls + self._calls
        self.land()

    def restart(self, fields: Mapping[str, Any]) -> None:
        """A new session is to know these fields, and what was not answered."""
        self.take_back()
        self.until = None
        self._wanted.update(fields)
