"""Guesses, counted: so that a secret is guessed slowly on every server process at once.

Failures are counted in Django's cache by who tries, in windows of a minute. A guess counts while it is looked
at, too: or a thousand at once would be one. While the cache is away, or if it keeps nothing, each process counts for itself.
"""

import hashlib
import ipaddress
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.core.cache import cache
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

WINDOW_S = 60
FAILURES = 10  # in a window: 5 million guesses a year, hopeless against any fair password


class TooMany(Exception):
    """Too much was tried; `retry_after` is in milliseconds."""

    def __init__(self, *, what: str, retry_after: int) -> None:
        super().__init__(what, retry_after)
        self.what, self.retry_after = what, retry_after

    def __str__(self) -> str:
        return f"Too many {self.what}; try again in {-(-self.retry_after // 1000)} s."


class Guess:
    """One guess, while it is looked at."""

    failed = False

    def wrong(self) -> None:
        """It was wrong, and stays counted."""
        self.failed = True


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """Failures of one kind: at most so many of the same `who` in a window, with those that are looked at."""

    name: str  # in the keys of the cache
    what: str  # in the sentence for people
    most: int = FAILURES

    @contextmanager
    def guess(self, *who: str) -> Iterator[Guess]:
        """Look at a guess inside; one that is not called wrong there counts no more. Raises TooMany, without a look at it."""
        window, elapsed = divmod(time.time(), WINDOW_S)
        key, guess = self._key(who, window=int(window)), Guess()
        counted = _add(key, 1)
        try:
            if counted > self.most:
                raise TooMany(what=self.what, retry_after=round((WINDOW_S - elapsed) * 1000))
            yield guess
        finally:
            if not guess.failed:
                _add(key, -1)

    def _key(self, who: tuple[str, ...], *, window: int) -> str:
        whose = hashlib.sha256("\n".join(who).encode(errors="replace")).hexdigest()
        return f"presence.{self.name}.{whose}.{window}"


def source(address: str) -> str:
    """Whom the address stands for. One customer has a whole /64 of IPv6 (RFC 6177), hence the network."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # a UNIX socket has none
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))


_own = LocMemCache("presence.attempts", {})


def _add(key: str, change: int) -> int:
    """Change a count. Returns it."""
    try:
        return _changed(cache, key, change)
    except ValueError:  # it keeps nothing, as Django's dummy, or has forgotten it in between
        pass
    except (RedisError, OSError) as error:
        logger.warning("guesses are counted by this process alone, the cache is away: %s", error)
    try:
        return _changed(_own, key, change)
    except ValueError:
        return change


def _changed(where: BaseCache, key: str, change: int) -> int:
    where.add(key, 0, timeout=WINDOW_S)
    return where.incr(key, change)
