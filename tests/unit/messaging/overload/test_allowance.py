"""Each device has its share, each user theirs, and nobody asks a database that does not answer."""

from __future__ import annotations

from typing import Any

from messaging import conf
from messaging.overload.allowance import Allowance, Limits
from messaging.protocol.errors import Refusal
from presence.breaker import Breaker

FEW: dict[str, Any] = {"burst_s": 1.0, "device_writes_per_s": 4.0, "user_writes_per_s": 6.0}


def granted(*allowances: Allowance) -> list[int]:
    """How many of ten writes of each are granted, one after the other."""
    return [sum(one.write() is None for _ in range(10)) for one in allowances]


def of(
    limits: Limits, device: str, user: str = "ann", *, writes: Breaker | None = None
) -> Allowance:
    breakers = (Breaker(), writes or Breaker())
    return Allowance(limits, device=device, user=user, breakers=breakers)


def test_sessions_of_a_device_share_its_writes_and_devices_of_a_user_theirs() -> None:
    limits = Limits(conf.Settings(**FEW))
    first, again, second = of(limits, "phone"), of(limits, "phone"), of(limits, "laptop")
    assert granted(first, again, second, of(limits, "other", "bob")) == [4, 0, 2, 4]


def test_a_refusal_of_the_rate_says_when_to_repeat() -> None:
    it = of(Limits(conf.Settings(**FEW)), "phone")
    granted(it)
    refused = it.write()
    assert refused is not None
    assert refused.refusal is Refusal.RATE_LIMITED
    assert 250 <= (refused.retry_after or 0) <= 510


def test_requests_hints_and_calls_have_buckets_of_their_own() -> None:
    given = conf.Settings(
        **FEW,
        device_requests_per_s=1,
        device_hints_per_s=1,
        device_calls_per_s=2,
        user_calls_per_s=3,
    )
    limits = Limits(given)
    it = of(limits, "phone")
    assert [it.request() is None for _ in range(2)] == [True, False]
    assert [it.hint() is None for _ in range(2)] == [True, False]
    assert [limits.call(device="phone", user="ann") is None for _ in range(3)] == [
        True,
        True,
        False,
    ]
    assert [limits.call(device="laptop", user="ann") is None for _ in range(2)] == [True, False]
    assert it.write() is None


def test_while_a_breaker_is_open_writes_and_reads_are_refused_but_not_hints() -> None:
    """Marks are state: they wait, and are stored when the database is back."""
    breaker = Breaker(patience_s=0.0)
    breaker.failed(since=0.0)
    it = of(Limits(conf.Settings()), "phone", writes=breaker)
    for refused in (it.write(), it.request()):
        assert refused is not None
        assert refused.refusal is Refusal.UNAVAILABLE
        assert refused.refusal.definite
    assert it.hint() is None
    breaker.succeeded()
    assert it.write() is None
