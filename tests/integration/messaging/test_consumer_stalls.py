"""A loop that stood still is no client that does not read. On uvloop, whose timers go before all else."""

import asyncio
import json
import time

import pytest
import uvloop

from messaging import consumers
from messaging.consumers import DeviceConsumer
from messaging.protocol.errors import CloseCode
from tests.device import Device, InProcess


async def closed_while_the_loop_stood_still() -> Device:
    """A device that was sent away, after which the loop stood still for longer than a close may take."""
    consumer = DeviceConsumer()
    device = await Device("nobody's").connect(InProcess(consumer), hello=False)
    await device.say_raw(json.dumps([{"type": "rubbish"}] * 200))
    async with asyncio.timeout(20):
        while not hasattr(consumer, "session") or consumer.session.closing is None:  # noqa: ASYNC110 - a moment of the loop itself
            await asyncio.sleep(0)
    time.sleep(0.2)  # noqa: ASYNC251 - the fault itself
    await device.ended()
    await device.cut()
    return device


def test_goodbye_is_said_although_the_loop_stood_still_for_longer_than_a_close_may_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumers, "CLOSE_S", 0.05)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        device = runner.run(closed_while_the_loop_stood_still())
    assert device.closed is not None
    assert device.closed.code == CloseCode.ABUSE
    assert device.heard[-1]["type"] == "goodbye"
