"""The pulse tells a server that is down from a generator that stood still; CPU is told of the time it was used in."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, cast

import psutil
import pytest

from perf.load.device import Device
from perf.load.probe import PULSE_S, Pulse, Resources

LATE_S = 3 * PULSE_S


class Pinged:
    """What the pulse sees of a device: `answer` is called for each ping."""

    away, cuts, pongs = False, 0, 0

    def __init__(self, answer: Callable[["Pinged"], None]) -> None:
        self._answer = answer

    def ping(self) -> None:
        self._answer(self)

    def pong(self) -> None:
        self.pongs += 1


async def pulse_over(device: Any, seconds: float) -> Pulse:
    """A pulse that has pinged for so long."""
    pulse = Pulse([cast("Device", device)], late_s=LATE_S)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await pulse.run()
    pulse.settle(lambda asked: False)
    return pulse


@pytest.mark.slow
async def test_a_server_that_does_not_answer_in_time_is_down() -> None:
    pulse = await pulse_over(Pinged(lambda _: None), 3 * LATE_S)
    assert (pulse.asked, pulse.answered) in {(1, 0), (2, 0)}


@pytest.mark.slow
async def test_an_answer_that_waited_while_the_generator_stood_still_came_in_time() -> None:
    loop, stalls = asyncio.get_running_loop(), iter([True])

    def stand_still(device: Pinged) -> None:
        time.sleep(2 * LATE_S)
        loop.call_later(PULSE_S / 2, device.pong)  # it was there all the time, but is read only now

    def answer(device: Pinged) -> None:
        if next(stalls, False):
            loop.call_later(PULSE_S / 2, stand_still, device)
        else:
            loop.call_soon(device.pong)

    pulse = await pulse_over(Pinged(answer), 4 * LATE_S)
    assert pulse.asked > 2
    assert pulse.uptime_percent == 100


async def test_cpu_that_was_used_while_it_was_looked_up_is_told_of_that_time_too() -> None:
    """On a full machine the looking up takes longer than a short load."""

    def find() -> list[psutil.Process]:
        end = time.perf_counter() + 0.1
        while time.perf_counter() < end:
            pass
        return [psutil.Process()]

    resources = Resources(groups={"own": find})
    async with resources.measured():
        await asyncio.sleep(0)
    assert 0 < resources.usage["own"].cpu_percent < 250
