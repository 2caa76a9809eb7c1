"""What a device, and all devices of its user together, may still ask of this process.

Buckets are of one process: a user with devices on several has one on each. REST calls have buckets of
their own; what they write is counted by those of the socket, too.
"""

from __future__ import annotations

from time import monotonic

from messaging import conf
from messaging.overload.buckets import Buckets
from messaging.protocol.errors import Refusal, Refused
from presence.breaker import Breaker


class Limits:
    """The buckets of this process, by what the settings say."""

    def __init__(self, given: conf.Settings) -> None:
        self.given = given

        def buckets(rate: float) -> Buckets:
            return Buckets(rate=rate, burst_s=given.burst_s)

        self.device_writes = buckets(given.device_writes_per_s)
        self.user_writes = buckets(given.user_writes_per_s)
        self.device_requests = buckets(given.device_requests_per_s)
        self.device_hints = buckets(given.device_hints_per_s)
        self.device_calls = buckets(given.device_calls_per_s)
        self.user_calls = buckets(given.user_calls_per_s)

    def call(self, *, device: str, user: str) -> Refused | None:
        """Count a REST call, or say why not."""
        now = monotonic()
        wait = self.device_calls.take(device, now) or self.user_calls.take(user, now)
        return None if wait is None else _too_much(wait)


class Allowance:
    """Of one device. The `breakers` are asked last: whoever they let through tries for all others."""

    __slots__ = ("_breakers", "_device", "_hints", "_requests", "_user", "_users_writes", "_writes")

    def __init__(
        self, limits: Limits, *, device: str, user: str, breakers: tuple[Breaker, Breaker]
    ) -> None:
        self._writes, self._users_writes = limits.device_writes, limits.user_writes
        self._requests, self._hints = limits.device_requests, limits.device_hints
        self._device, self._user, self._breakers = device, user, breakers

    def write(self) -> Refused | None:
        """Count a send, an edit or a deletion, or say why not."""
        now = monotonic()
        wait = self._writes.take(self._device, now) or self._users_writes.take(self._user, now)
        return self._broken() if wait is None else _too_much(wait)

    def request(self) -> Refused | None:
        """Count a request that reads, or that tells of presence, or say why not."""
        wait = self._requests.take(self._device, monotonic())
        return self._broken() if wait is None else _too_much(wait)

    def hint(self) -> int | None:
        """Count a receipt, a typing or a ping. Returns the ms for which no more is to be read, if it was too much."""
        return self._hints.take(self._device, monotonic())

    def _broken(self) -> Refused | None:
        database, writes = self._breakers
        if (database.is_open and database.refuses()) or (writes.is_open and writes.refuses()):
            return Refused(Refusal.UNAVAILABLE)
        return None


def _too_much(wait: int) -> Refused:
    return Refused(Refusal.RATE_LIMITED, retry_after=wait)


_limits: Limits | None = None


def limits() -> Limits:
    """The limits of this process, made anew when its settings change (in tests)."""
    global _limits  # noqa: PLW0603 - threads of the REST API and the event loop share them
    given = conf.current()
    if _limits is None or _limits.given != given:
        _limits = Limits(given)
    return _limits
