"""The exact table of what one message costs: sent one by one, with a pause for its receipts, into a calm server.

The same time of silence is measured before and subtracted, so that passes and leases do not count.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import psycopg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from perf.load.fleet import Fleet
from perf.measure import counters
from perf.measure.counters import Cost, Reading
from perf.rig.database import Connection, connected
from perf.rig.environment import Environment

MESSAGES, QUICK_MESSAGES = 20, 3
PAUSE_S = 0.25  # receipts are paced at 100 ms by the client and again by the server
REACH_S = 10.0
TEXT = "x" * 100


async def measure(environment: Environment, fleet: Fleet, *, quick: bool) -> list[Cost]:
    """Send messages of 100 characters from one device; return the table.

    Only the fleet's devices may be busy meanwhile. Empty without a database, and if it does
    not become calm, or a message does not arrive: the judge will name that.
    """
    if environment.database_url is None or not fleet.devices:
        return []
    count = QUICK_MESSAGES if quick else MESSAGES
    async with AsyncExitStack() as stack:
        reader = _Reader(fleet)
        reader.connection = await stack.enter_async_context(connected(environment.database_url))
        if environment.redis_url is not None:
            reader.valkey = await stack.enter_async_context(Redis.from_url(environment.redis_url))
        try:
            before = await _calm(reader)
            await asyncio.sleep(count * PAUSE_S)
            calm = await reader.read()
            deliveries = await _send(fleet, count)
            after = await reader.read()
        except (psycopg.Error, RedisError, TimeoutError):
            return []
    return counters.table(
        after.since(calm), messages=count, deliveries=deliveries, idle=calm.since(before)
    )


async def _calm(reader: _Reader) -> Reading:
    """Wait until nothing reaches the devices any more, such as receipts of the load before."""
    before = await reader.read()
    async with asyncio.timeout(REACH_S):
        while True:
            await asyncio.sleep(2 * PAUSE_S)
            now = await reader.read()
            if now.bytes_received == before.bytes_received:
                return now
            before = now


class _Reader:
    """Everything that is counted."""

    connection: Connection
    valkey: Redis | None = None

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def read(self) -> Reading:
        received = sum(device.bytes_received for device in self._fleet.devices)
        return await counters.read(self.connection, self.valkey, bytes_received=received)


async def _send(fleet: Fleet, count: int) -> int:
    """One after another, each only when the one before is everywhere; return how many arrivals that was."""
    sender = fleet.devices[0]
    conversation = sender.account.conversations[0]
    receivers = [one for one in fleet.members()[conversation] if one.online]
    for _ in range(count):
        goal = max(one.client.cursors.get(conversation, 0) for one in receivers) + 1
        sender.send(conversation, TEXT)
        sender.flush()
        async with asyncio.timeout(REACH_S):
            await asyncio.gather(*(one.reach(conversation, goal) for one in receivers))
        await asyncio.sleep(PAUSE_S)
    return count * len(receivers)
