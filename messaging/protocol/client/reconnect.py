"""When a client comes back, or repeats: the server's word says whether, the attempts say how soon.

Full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): a wait is random
between 0 and a limit that doubles, so that a fleet cut off in one moment does not return in one moment.
"""

from __future__ import annotations

from collections.abc import Callable

from messaging.protocol.frames import Goodbye

FIRST_MS = 100.0  # limit of the first wait: a restarted server is back in about a second
LIMIT_MS = 10_000.0  # it doubles up to here: a fleet of 10,000 comes back at 1,000 a second
REPEAT_LIMIT_MS = 2_000.0  # of what is random in the wait before a repeat
LOST = 1006  # RFC 6455: the connection ended without a word


def may_return(code: int) -> bool:
    """Whether a close code lets the client reconnect."""
    return code not in (1008, 1009) and not 4500 <= code < 5000


def repeat_ms(retry_after: float, refusals: int, random: Callable[[], float]) -> float:
    """The ms until a repeat: what the server asks for, and a random part of a limit that doubles with each refusal in a row."""
    half = retry_after / 2
    return retry_after + random() * min(max(REPEAT_LIMIT_MS, half), half * 2.0 ** min(refusals, 16))


class Backoff:
    """How long to wait; `attempts` counts the connections that brought no welcome."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random, self.attempts = random, 0

    def wait(self, farewell: Goodbye | None) -> float:
        """The ms until the next connect, after this farewell if there was one."""
        limit = min(LIMIT_MS, FIRST_MS * 2.0 ** min(self.attempts, 16))
        self.attempts += 1
        asked = farewell.reconnect_after if farewell and farewell.reconnect_after else 0
        return asked + self._random() * limit
