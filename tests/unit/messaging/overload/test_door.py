"""The door lets in what it says, few at a time, and tells the others when to come back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from messaging import conf
from messaging.overload.door import AT_ONCE, LONGEST_S, Door, Full
from messaging.overload.pressure import FEW_AT_A_TIME
from tests.unit.messaging.overload.clock import Clock


def door(clock: Clock | None = None, *, jitter: float = 0.5, **given: Any) -> Door:
    return Door(conf.Settings(**given), clock=clock or Clock(), jitter=lambda: jitter)


def turned_away(door: Door, times: int) -> list[int]:
    """The waits of those who are refused, of so many who come."""
    waits = []
    for _ in range(times):
        try:
            door.enter()
        except Full as full:
            waits.append(full.reconnect_after)
    return waits


def test_no_more_connections_are_open_than_the_settings_say() -> None:
    it = door(connections=3)
    assert len(turned_away(it, 5)) == 2
    it.leave()
    assert len(turned_away(it, 2)) == 1
    assert it.inside == 3


def test_new_connections_are_bounded_by_their_rate_and_a_burst() -> None:
    clock = Clock()
    it = door(clock, handshakes_per_s=10, burst_s=2)
    assert len(turned_away(it, 25)) == 5
    clock.now += 1
    assert len(turned_away(it, 25)) == 15


def test_nothing_is_bounded_by_nothing() -> None:
    it = door(connections=0, handshakes_per_s=0)
    assert turned_away(it, 30_000) == []


async def test_while_the_process_is_too_busy_few_come_in_and_nobody_waits() -> None:
    """Not one at all would mean never again, if it is busy for a reason of its own."""
    it = door()
    it.pressure.level = FEW_AT_A_TIME
    go_on = asyncio.Event()

    async def hello() -> None:
        async with it.turn():
            await go_on.wait()

    hellos = [asyncio.create_task(hello()) for _ in range(AT_ONCE)]
    assert turned_away(it, 1) == []
    await asyncio.sleep(0)
    assert len(turned_away(it, 5)) == 5
    with pytest.raises(Full):
        await hello()
    go_on.set()
    await asyncio.gather(*hellos)
    assert turned_away(it, 1) == []


def test_those_who_are_refused_come_back_one_after_the_other() -> None:
    """As fast as they can be served: all at once would be refused again."""
    waits = turned_away(door(connections=1), 401)
    assert waits == sorted(waits)
    assert waits[0] >= 1_000
    assert 3_900 <= waits[-1] - waits[0] <= 4_100  # 400 at 10 ms each


def test_nobody_is_told_to_wait_for_ever() -> None:
    assert max(turned_away(door(connections=1, jitter=1.0), 20_000)) <= 1.25 * LONGEST_S * 1000


def test_the_wait_is_jittered() -> None:
    early, late = (turned_away(door(connections=1, jitter=j), 2)[-1] for j in (0.0, 1.0))
    assert late > 1.5 * early


async def test_few_hellos_are_looked_up_at_a_time_and_in_their_order() -> None:
    it = door()
    entered, go_on = list[int](), asyncio.Event()

    async def hello(number: int) -> None:
        async with it.turn():
            entered.append(number)
            await go_on.wait()

    hellos = [asyncio.create_task(hello(number)) for number in range(3 * AT_ONCE)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert entered == list(range(AT_ONCE))
    go_on.set()
    await asyncio.gather(*hellos)
    assert entered == list(range(3 * AT_ONCE))


async def test_a_hello_that_would_wait_too_long_is_refused_at_once() -> None:
    """At 10 ms each, 300 wait for 3 s; one that hangs up leaves its place to another."""
    it = door(hello_wait_s=3.0)
    go_on = asyncio.Event()

    async def hello() -> None:
        async with it.turn():
            await go_on.wait()

    hellos = [asyncio.create_task(hello()) for _ in range(AT_ONCE + 301)]
    await asyncio.sleep(0)
    with pytest.raises(Full):
        await hello()
    assert len(turned_away(it, 1)) == 1
    hellos.pop().cancel()
    await asyncio.sleep(0)
    assert turned_away(it, 1) == []
    go_on.set()
    await asyncio.gather(*hellos)


async def test_it_learns_how_long_a_hello_takes() -> None:
    clock = Clock()
    it = door(clock, hello_wait_s=3.0)
    go_on = asyncio.Semaphore(0)

    async def hello() -> None:
        async with it.turn():
            await go_on.acquire()

    hellos = [asyncio.create_task(hello()) for _ in range(AT_ONCE + 200)]
    await asyncio.sleep(0)
    for _ in range(100):  # 100 ms each: those who are left would wait for 10 s
        clock.now += 0.1
        go_on.release()
        for _ in range(3):
            await asyncio.sleep(0)
    assert len(turned_away(it, 1)) == 1
    for _ in hellos:
        go_on.release()
    await asyncio.gather(*hellos)
