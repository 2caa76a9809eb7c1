"""The states of a session and the one table that owns every transition, for both peers.

The table knows no role: a frame's name says who sends it (`typing` goes both ways). An unlisted pair is a protocol error.
"""

from __future__ import annotations

import enum

from messaging.protocol.errors import LockstepError


class State(enum.Enum):
    """Where a session stands."""

    NEW = "new"  # connected, nothing said
    GREETING = "greeting"  # hello said, not yet answered
    LIVE = "live"  # welcome said
    CLOSING = "closing"  # goodbye said, or the socket is going


REQUESTS = (
    "send",
    "edit",
    "delete",
    "receipt",
    "sync",
    "presence.set",
    "presence.watch",
    "typing",
    "ping",
)
ANSWERS = (
    "ok",
    "error",
    "events",
    "receipts",
    "conversation",
    "left",
    "reset",
    "presence",
    "typing",
    "pong",
)

TRANSITIONS: dict[tuple[State, str], State] = {
    (State.NEW, "hello"): State.GREETING,
    (State.NEW, "error"): State.NEW,
    (State.NEW, "goodbye"): State.CLOSING,
    (State.GREETING, "welcome"): State.LIVE,
    (State.GREETING, "error"): State.GREETING,
    (State.GREETING, "goodbye"): State.CLOSING,
    (State.LIVE, "goodbye"): State.CLOSING,
    (State.CLOSING, "goodbye"): State.CLOSING,
    **{(State.LIVE, name): State.LIVE for name in REQUESTS + ANSWERS},
    **{(State.CLOSING, name): State.CLOSING for name in REQUESTS + ANSWERS},
}


class IllegalFrame(LockstepError):
    """A frame in a state that does not take it."""

    def __init__(self, *, role: str, frame: str, state: State) -> None:
        self.role, self.frame, self.state = role, frame, state

    def __str__(self) -> str:
        return f"the {self.role} can't take {self.frame} while {self.state.value}"


def advance(state: State, frame: str, *, role: str) -> State:
    """Return the state after `frame`. Raises IllegalFrame for an unlisted pair."""
    try:
        return TRANSITIONS[state, frame]
    except KeyError:
        raise IllegalFrame(role=role, frame=frame, state=state) from None
