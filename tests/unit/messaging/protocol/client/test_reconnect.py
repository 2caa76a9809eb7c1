"""When a client comes back."""

import pytest

from messaging.protocol.client.reconnect import FIRST_MS, LIMIT_MS, Backoff, may_return
from messaging.protocol.frames import Goodbye


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 1012, 4000, 4499])
def test_a_client_comes_back_after_what_passes(code: int) -> None:
    assert may_return(code)


@pytest.mark.parametrize("code", [1008, 1009, 4500, 4999])
def test_a_client_stays_away_after_what_would_happen_again(code: int) -> None:
    assert not may_return(code)


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
