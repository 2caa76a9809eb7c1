"""Whether a connection still lives: silence is broken by a ping, and a ping without an answer is its end.

A connection may die without a word (a host that lost power, a network that forgot it). Asking costs every
idle device and its server, so it is asked soon only where somebody waits for an answer, which is when gRPC's
keepalive, too, asks by default (grpc.io, "Keepalive": no pings without calls).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long (ms) a client waits for a word of the server before it asks with a ping, and for the answer to that.

    `pong_ms` below the worst pause of a server sends all of its devices away from it at once, and each costs
    it more when it comes back.
    """

    silence_ms: float = 20_000.0  # nothing heard at all
    answer_ms: float = 2_000.0  # nothing heard since a request went out
    pong_ms: float = 8_000.0  # nothing heard since the ping


class Silence:
    """What was not heard on one connection; all moments are ms."""

    __slots__ = ("_asked", "_patience", "_pinged", "heard")

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self.heard = 0.0
        self._asked: float | None = None  # the first request since something was heard
        self._pinged: float | None = None

    def broken(self, now: float) -> None:
        """The server said something."""
        self.heard, self._asked, self._pinged = now, None, None

    def asked(self, now: float) -> None:
        """A request went out."""
        if self._asked is None:
            self._asked = now

    def pinged(self, now: float) -> None:
        """A ping went out."""
        self._pinged = now

    @property
    def ping(self) -> float | None:
        """The moment to send a ping; None while one is unanswered."""
        if self._pinged is not None:
            return None
        silence = self.heard + self._patience.silence_ms
        return (
            silence if self._asked is None else min(silence, self._asked + self._patience.answer_ms)
        )

    @property
    def end(self) -> float | None:
        """The moment at which the connection counts as dead; None while nothing was asked."""
        return None if self._pinged is None else self._pinged + self._patience.pong_ms
