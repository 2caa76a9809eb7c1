"""When a client comes back."""

from messaging.protocol.frames import Goodbye
from messaging.protocol.reconnect import FIRST_MS, LIMIT_MS, Backoff


def test_waits_are_random_below_a_limit_that_doubles_and_stops() -> None:
    """However many attempts fail."""
    backoff = Backoff(lambda: 1.0)
    waits = [backoff.wait(None) for _ in range(2_000)]
    assert waits[:3] == [FIRST_MS, 2 * FIRST_MS, 4 * FIRST_MS]
    assert max(waits) == waits[-1] == LIMIT_MS
    assert Backoff(lambda: 0.0).wait(None) == 0


def test_a_goodbye_adds_its_own_wait() -> None:
    """A server that drains spreads its clients."""
    goodbye = Goodbye(reason="restart", message="…", reconnect_after=3_000)
    assert Backoff(lambda: 0.5).wait(goodbye) == 3_050
    assert Backoff(lambda: 0.5).wait(Goodbye(reason="slow", message="…")) == 50
