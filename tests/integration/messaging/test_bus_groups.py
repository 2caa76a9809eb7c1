"""The groups of the bus when a call fails in the middle: what the layer forgets, the bus does not."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import pytest
from redis import Redis

from messaging.hub.bus import CALL_S, Bus, conversation_group
from messaging.protocol.server.batch import Batch
from tests import scene

pytestmark = pytest.mark.slow  # each stalls the loop for longer than a call may take


@pytest.fixture
def joined() -> list[str]:
    """The conversations whose groups were heard to be joined, in order."""
    return []


@pytest.fixture
async def bus(redis_url: str, joined: list[str]) -> AsyncIterator[Bus]:
    made = Bus(
        on_batch=lambda _: None,
        on_marks=lambda *_: None,
        on_joined=joined.append,
        on_doubt=lambda: None,
        on_return=lambda: None,
    )
    await made.start()
    yield made
    await made.close()


def entered(valkey: Redis, room: str) -> bool:
    """Whether Redis lists anybody in a conversation's group."""
    return bool(valkey.pubsub_channels(f"*{conversation_group(room)}"))


async def leave_and_stall(bus: Bus, room: str) -> None:
    """Have the loop stop while the bus publishes and, behind that, has a group to leave.

    So it does when ten thousand sessions end in one turn: the call has taken too long then, and is given up.
    """
    (shard,) = bus._layer._get_layer()._shards
    bus.publish_batch(Batch(conversation=room, since=0, upto=1, json=b"[]", count=0, oldest=0))
    await turns_until(shard._lock.locked)
    bus.leave(room)
    await turns_until(lambda: shard._lock.locked() and shard._lock._waiters)
    time.sleep(CALL_S + 0.1)  # noqa: ASYNC251 - the fault itself


async def turns_until(look: Callable[[], object]) -> None:
    """Let the loop turn, without a pause, until the answer is true."""
    async with asyncio.timeout(scene.PATIENCE_S):
        while not look():  # noqa: ASYNC110 - it waits for a moment of the loop itself
            await asyncio.sleep(0)


async def test_a_group_whose_leaving_was_given_up_is_left_all_the_same(
    bus: Bus, joined: list[str], valkey: Redis
) -> None:
    room = str(uuid4())
    bus.join(room)
    await scene.eventually(lambda: room in joined)
    assert entered(valkey, room)
    await leave_and_stall(bus, room)
    await scene.eventually(lambda: not bus._due and room not in bus._entered)
    await scene.eventually(lambda: not entered(valkey, room))
