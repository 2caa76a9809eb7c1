"""Guesses, counted: so that a secret is guessed slowly on every server process at once.

Failures are counted in Django's cache by who tries, in windows of a minute. A cache that is away
limits nothing: it must not lock anybody out.
"""

import hashlib
import ipaddress
import logging
import time
from dataclasses import dataclass

from django.core.cache import cache
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


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """Failures of one kind: at most FAILURES of the same `who` in a window."""

    name: str  # in the keys of the cache
    what: str  # in the sentence for people

    def check(self, *who: str) -> None:
        """Raise TooMany if these have failed too often to be looked at."""
        window, elapsed = divmod(time.time(), WINDOW_S)
        if _failures(self._key(who, window=int(window))) >= FAILURES:
            raise TooMany(what=self.what, retry_after=round((WINDOW_S - elapsed) * 1000))

    def count(self, *who: str) -> None:
        """One more failure of these."""
        _count(self._key(who, window=int(time.time() // WINDOW_S)))

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


def _failures(key: str) -> int:
    try:
        return int(cache.get(key, 0))
    except (RedisError, OSError) as error:
        logger.warning("guesses are not limited while the cache is away: %s", error)
        return 0


def _count(key: str) -> None:
    try:
        cache.add(key, 0, timeout=WINDOW_S)
        cache.incr(key)
    except (RedisError, OSError, ValueError) as error:  # ValueError: it ran out in between
        logger.warning("a failed guess was not counted: %s", error)
