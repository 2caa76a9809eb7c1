"""Arrivals are counted by listener and message: twice is not once, and another order is not the same."""

from types import SimpleNamespace
from typing import Any

from messaging.protocol.frames import Message
from perf.measure.latency import Latency
from perf.scenarios.parts.arrivals import Arrivals


def device(number: int) -> Any:
    return SimpleNamespace(number=number)


def messages(*bodies: str) -> list[Message]:
    return [Message(id=body, seq=n, position=n, body=body) for n, body in enumerate(bodies, 1)]


def announced(*bodies: str) -> tuple[Arrivals, list[str], Latency]:
    first: list[str] = []
    arrivals, latency = Arrivals(lambda message, _: first.append(message.body)), Latency()
    arrivals.expect({"c": {1, 2}})
    arrivals.announce("c", bodies, begun=10.0, latency=latency)
    return arrivals, first, latency


def test_what_everyone_was_shown_once_is_complete() -> None:
    arrivals, first, latency = announced("a", "b")
    arrivals.delivered(device(1), messages("a", "b"), 10.002)
    assert not arrivals.complete()
    arrivals.delivered(device(2), messages("a", "b"), 10.004)
    assert arrivals.complete()
    assert arrivals.counted(["a", "b"]) == (4, 4)
    assert arrivals.agreed("c") == (2, 2)
    assert first == ["a", "b"]
    assert latency.summary().max == 4.0


def test_what_is_shown_twice_was_not_shown_once() -> None:
    arrivals, _, _ = announced("a")
    arrivals.delivered(device(1), messages("a", "a"), 10.0)
    arrivals.delivered(device(2), messages("a"), 10.0)
    assert arrivals.counted(["a"]) == (1, 2)
    assert arrivals.told(["a"]) == 3


def test_another_order_is_not_agreed_on() -> None:
    arrivals, _, _ = announced("a", "b")
    arrivals.delivered(device(1), messages("a", "b"), 10.0)
    arrivals.delivered(device(2), messages("b", "a"), 10.0)
    assert arrivals.agreed("c") == (1, 2)


def test_what_nobody_announced_counts_for_nothing() -> None:
    arrivals, first, _ = announced("a")
    arrivals.delivered(device(1), messages("x"), 10.0)
    assert (arrivals.told(["a"]), first) == (0, [])
