"""Whom an address stands for, and how long who guesses has to wait."""

from typing import Any

import pytest

from presence import attempts
from presence.attempts import FAILURES, WINDOW_S, Guesses, TooMany, source

PINS = Guesses(name="pin", what="wrong pins")


@pytest.fixture(autouse=True)
def memory(settings: Any) -> None:
    """A cache of this process: nothing here is about where it is."""
    from django.core.cache import cache

    backend = "django.core.cache.backends.locmem.LocMemCache"
    settings.CACHES = {"default": {"BACKEND": backend}}
    cache.clear()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is; a window has just begun."""
    now = [1_000_000 * WINDOW_S * 1.0]
    monkeypatch.setattr(attempts.time, "time", lambda: now[0])
    return now


def test_the_eleventh_failure_waits_for_the_end_of_the_window(clock: list[float]) -> None:
    clock[0] += 20.5
    for _ in range(FAILURES):
        PINS.check("ann", "here")
        PINS.count("ann", "here")
    with pytest.raises(TooMany) as refused:
        PINS.check("ann", "here")
    assert refused.value.retry_after == 39_500
    assert str(refused.value) == "Too many wrong pins; try again in 40 s."
    clock[0] += 39.5
    PINS.check("ann", "here")


def test_everybody_and_every_kind_is_counted_apart(clock: list[float]) -> None:
    for _ in range(FAILURES):
        PINS.count("ann", "here")
    PINS.check("ann", "there")
    PINS.check("annh", "ere")
    Guesses(name="word", what="wrong words").check("ann", "here")
    with pytest.raises(TooMany):
        PINS.check("ann", "here")


@pytest.mark.parametrize(
    ("address", "whom"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
        ("unix:", "unix:"),
    ],
)
def test_an_address_of_ipv6_stands_for_its_network(address: str, whom: str) -> None:
    assert source(address) == whom
