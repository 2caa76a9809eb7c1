"""Logins: a password gives a signed proof, good for five minutes, that registers devices.

Failures are counted by user name and address in Django's cache, so that guessing is slow on every
server process at once. A cache that is away limits nothing: it must not lock anybody out.
"""

import hashlib
import logging
import time

from django.contrib.auth import authenticate
from django.core import signing
from django.core.cache import cache
from redis.exceptions import RedisError

from presence.models import User

logger = logging.getLogger(__name__)

PROOF_S = 300  # long enough to name a device, short enough to be worthless in a log
SALT = "presence.login"
FAILURES = 10  # wrong passwords of one user name from one address in a window
WINDOW_S = 60  # ten guesses a minute are 5 million a year: hopeless against any fair password


class TooManyFailures(Exception):
    """Too many wrong passwords; `retry_after` is in milliseconds."""

    def __init__(self, *, retry_after: int) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"Too many wrong passwords; try again in {-(-self.retry_after // 1000)} s."


def log_in(*, username: str, password: str, address: str) -> User | None:
    """Return the user if the password is right. Raises TooManyFailures, without a look at it."""
    window, elapsed = divmod(time.time(), WINDOW_S)
    key = _counter(username, address, window=int(window))
    if _failures(key) >= FAILURES:
        raise TooManyFailures(retry_after=round((WINDOW_S - elapsed) * 1000))
    user = authenticate(username=username, password=password)
    if isinstance(user, User):
        return user
    _count(key)
    return None


def sign(user: User) -> str:
    """Return the proof that the user logged in just now."""
    return signing.dumps(str(user.pk), salt=SALT)


def user_of(proof: str) -> User | None:
    """Return the active user who logged in, or None if the proof is forged or too old."""
    try:
        key = signing.loads(proof, salt=SALT, max_age=PROOF_S)
    except signing.BadSignature:
        return None
    return User.objects.filter(pk=key, is_active=True).first()


def _counter(username: str, address: str, *, window: int) -> str:
    who = hashlib.sha256(f"{username}\n{address}".encode(errors="replace")).hexdigest()
    return f"presence.login.{who}.{window}"


def _failures(key: str) -> int:
    try:
        return int(cache.get(key, 0))
    except (RedisError, OSError) as error:
        logger.warning("logins are not limited while the cache is away: %s", error)
        return 0


def _count(key: str) -> None:
    try:
        cache.add(key, 0, timeout=WINDOW_S)
        cache.incr(key)
    except (RedisError, OSError, ValueError) as error:  # ValueError: it ran out in between
        logger.warning("a wrong password was not counted: %s", error)
