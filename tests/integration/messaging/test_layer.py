"""The channel layer's own part: many events in one round trip, in order, readable by any Channels consumer."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import redis
from channels.layers import InMemoryChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.conf import settings

from messaging.hub import layer as layers
from messaging.hub.bus import Bus, conversation_group
from messaging.hub.layer import PipelinedChannelLayer
from tests import scene

EVENTS = 100
GROUPS = 1_000


@pytest.fixture
def options(redis_url: str) -> dict[str, Any]:
    return dict(settings.CHANNEL_LAYERS["default"]["CONFIG"])


async def listening(layer: Any, group: str) -> str:
    """A channel in the group, subscribed for certain: its first event has come back."""
    channel = str(await layer.new_channel())
    await layer.group_add(group, channel)
    while True:
        await layer.group_send(group, {"type": "nonce"})
        try:
            async with asyncio.timeout(0.1):
                await layer.receive(channel)
        except TimeoutError:  # and the layer has unsubscribed with it
            channel = str(await layer.new_channel())
            await layer.group_add(group, channel)
        else:
            return channel


async def test_events_sent_together_reach_each_group_in_order_and_take_one_round_trip(
    options: dict[str, Any], redis_url: str
) -> None:
    ours, theirs = PipelinedChannelLayer(**options), RedisPubSubChannelLayer(**options)
    groups = [f"conversation.{uuid4()}" for _ in range(2)]
    channels = [await listening(theirs, group) for group in groups]
    events = [(groups[n % 2], {"type": "lockstep.events", "n": n}) for n in range(EVENTS)]
    await ours.group_send_all(events[:1])  # opens the connection
    with redis.Redis.from_url(redis_url) as server:
        before = server.info("stats")["total_reads_processed"]
        await ours.group_send_all(events)
        reads = server.info("stats")["total_reads_processed"] - before
    heard: list[list[int]] = []
    for channel in channels:
        numbers: list[int] = []
        while not numbers or numbers[-1] < EVENTS - 2:
            event = await theirs.receive(channel)
            if event["type"] == "lockstep.events":
                numbers.append(event["n"])
        heard.append(numbers)
    await ours.flush()
    await theirs.flush()
    assert heard == [[0, *range(0, EVENTS, 2)], list(range(1, EVENTS, 2))]
    assert reads < EVENTS / 4  # others may ask the server something meanwhile


def bus_that_tells(joined: Callable[[str], None]) -> Bus:
    """A bus of which only the groups are of interest that it was heard to join."""

    def nothing(*_: object) -> None: ...

    return Bus(
        on_batch=nothing,
        on_marks=nothing,
        on_joined=joined,
        on_doubt=nothing,
        on_return=nothing,
    )


async def test_a_layer_of_another_kind_is_given_the_groups_and_the_events_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = InMemoryChannelLayer()
    monkeypatch.setattr("messaging.hub.bus.get_channel_layer", lambda: layer)
    joined: set[str] = set()
    bus = bus_that_tells(joined.add)
    conversation = str(uuid4())
    channel = await layer.new_channel()
    await layer.group_add(conversation_group(conversation), channel)
    await bus.start()
    for _ in range(3):
        bus.publish_marks(conversation, [])
    kinds = [(await layer.receive(channel))["type"] for _ in range(3)]
    others = {str(uuid4()) for _ in range(3)}
    for other in others:
        bus.join(other)
    await scene.eventually(lambda: joined == others)
    await bus.close()
    assert kinds == ["lockstep.receipts"] * 3


async def test_groups_wanted_together_are_entered_in_few_round_trips(
    redis_url: str,
) -> None:
    """A thousand conversations are opened when a deploy sends two thousand devices to another process."""
    joined: set[str] = set()
    bus = bus_that_tells(joined.add)
    await bus.start()
    await scene.eventually(lambda: not bus.deaf)
    wanted = {str(uuid4()) for _ in range(GROUPS)}
    with redis.Redis.from_url(redis_url) as server:
        before = server.info("stats")["total_reads_processed"]
        for conversation in wanted:
            bus.join(conversation)
        await scene.eventually(lambda: joined == wanted)
        reads = server.info("stats")["total_reads_processed"] - before
    await bus.close()
    assert reads < GROUPS / 4  # one by one it would be two for each; others may ask meanwhile


async def test_events_that_wait_for_a_late_process_are_bounded_in_bytes(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is dropped was a hint; what waits is heard in its order."""
    monkeypatch.setattr(layers, "RECEIVED_BYTES", 1_000)
    layer, group = PipelinedChannelLayer(**options), f"late.{uuid4()}"
    channel = await listening(layer, group)
    waiting = layer.channels[channel]
    for number in range(10):
        await layer.group_send(group, {"type": "x", "number": number, "text": "x" * 400})
    await scene.eventually(lambda: waiting.size >= 1_000)
    assert waiting.size < 1_500
    heard = [(await layer.receive(channel))["number"] for _ in range(3)]
    assert heard == [0, 1, 2]
    assert waiting.size == 0
    await layer.flush()
