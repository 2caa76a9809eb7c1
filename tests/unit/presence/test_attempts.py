"""Whom an address stands for, and how long who guesses has to wait."""

from contextlib import ExitStack
from typing import Any

import pytest
from django.core.cache.backends.locmem import LocMemCache

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


def guessed(*who: str, wrong: bool = True, guesses: Guesses = PINS) -> None:
    with guesses.guess(*who) as guess:
        if wrong:
            guess.wrong()


def test_the_eleventh_failure_waits_for_the_end_of_the_window(clock: list[float]) -> None:
    clock[0] += 20.5
    for _ in range(FAILURES):
        guessed("ann", "here")
    with pytest.raises(TooMany) as refused:
        guessed("ann", "here")
    assert refused.value.retry_after == 39_500
    assert str(refused.value) == "Too many wrong pins; try again in 40 s."
    clock[0] += 39.5
    guessed("ann", "here")


def test_everybody_and_every_kind_is_counted_apart(clock: list[float]) -> None:
    for _ in range(FAILURES):
        guessed("ann", "here")
    guessed("ann", "there")
    guessed("annh", "ere")
    guessed("ann", "here", guesses=Guesses(name="word", what="wrong words"))
    with pytest.raises(TooMany):
        guessed("ann", "here")


def test_right_guesses_and_broken_ones_do_not_count(clock: list[float]) -> None:
    for _ in range(2 * FAILURES):
        guessed("ann", wrong=False)
        with pytest.raises(OSError, match="the database"), PINS.guess("ann"):
            raise OSError("the database is away")
    guessed("ann")


def test_a_thousand_guesses_at_once_are_no_more_than_one_after_the_other(
    clock: list[float],
) -> None:
    """Counted only when they were found wrong, all of them would have been looked at."""
    with ExitStack() as under_way:
        for _ in range(FAILURES):
            under_way.enter_context(PINS.guess("ann"))
        for _ in range(1_000):
            with pytest.raises(TooMany):
                guessed("ann")
    guessed("ann")  # those that were refused do not count


AWAY = {
    "BACKEND": "django.core.cache.backends.redis.RedisCache",
    "LOCATION": "redis://127.0.0.1:1",
}
KEEPS_NOTHING = {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}


@pytest.mark.parametrize("cache", [AWAY, KEEPS_NOTHING])
def test_while_the_cache_is_away_the_process_counts_for_itself(
    clock: list[float], settings: Any, monkeypatch: pytest.MonkeyPatch, cache: dict[str, str]
) -> None:
    """So it does where the site's cache keeps nothing: guesses were not counted at all."""
    monkeypatch.setattr(attempts, "_own", LocMemCache("tests.attempts", {}))
    attempts._own.clear()
    settings.CACHES = {"default": cache}
    for _ in range(FAILURES):
        guessed("eve")
    with pytest.raises(TooMany):
        guessed("eve")
    guessed("ann")


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
