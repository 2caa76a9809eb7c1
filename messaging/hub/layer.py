"""The Redis channel layer, with ways to enter many groups and to publish many events in one round trip.

`channels_redis` publishes one event at a time and waits for its answer under a lock: a fifth of the
CPU of a process at normal load, and 100-400 ms of lag between busy ones. Everything else is its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, TypeAlias

from channels_redis.pubsub import RedisPubSubChannelLayer

from messaging import metrics

Event: TypeAlias = dict[str, Any]

RECEIVED_BYTES = (
    33_554_432  # that wait for a process that is late; as much as Redis itself keeps for one
)


class Received(asyncio.Queue[bytes]):
    """Events that wait for a consumer, bounded in bytes: more are dropped, as a hint may be."""

    size = 0  # bytes

    def put_nowait(self, item: bytes) -> None:
        """Add an event, or drop it."""
        if self.size < RECEIVED_BYTES:
            super().put_nowait(item)
        else:
            metrics.bus_dropped.inc()

    def _put(self, item: bytes) -> None:
        self.size += len(item)
        super()._put(item)

    def _get(self) -> bytes:
        item = super()._get()
        self.size -= len(item)
        return item


class PipelinedChannelLayer(RedisPubSubChannelLayer):  # type: ignore[misc]
    """`RedisPubSubChannelLayer` with `group_add_all` and `group_send_all`; same options, same bytes on the wire."""

    async def new_channel(self, prefix: str = "specific.") -> str:
        """A channel whose events wait within bounds."""
        layer = self._get_layer()
        channel: str = await layer.new_channel(prefix)
        layer.channels[channel] = Received()
        return channel

    async def group_add_all(self, groups: Iterable[str], channel: str) -> None:
        """Have a channel hear these groups too, one command for each Redis server.

        Raises redis.RedisError or OSError; some of them may have been entered then.
        """
        layer = self._get_layer()
        due: dict[Any, list[str]] = {}
        for group in groups:
            name = layer._get_group_channel_name(group)
            layer.groups.setdefault(name, set()).add(channel)
            due.setdefault(layer._get_shard(name), []).append(name)
        for shard, names in due.items():
            async with shard._lock:
                if new := [name for name in names if name not in shard._subscribed_to]:
                    shard._ensure_redis()
                    shard._ensure_receiver()
                    await shard._pubsub.subscribe(*new)
                    shard._subscribed_to.update(new)

    async def group_send_all(self, events: Iterable[tuple[str, Event]]) -> dict[str, int]:
        """Send each event to its group, in this order, one round trip for each Redis server.

        Returns how many processes heard the last one of each group. Raises redis.RedisError or OSError;
        some of them may have been sent then.
        """
        layer = self._get_layer()
        due: dict[Any, list[tuple[str, Event]]] = {}
        for group, event in events:
            shard = layer._get_shard(layer._get_group_channel_name(group))
            due.setdefault(shard, []).append((group, event))
        heard: dict[str, int] = {}
        for shard, published in due.items():
            async with shard._lock:
                shard._ensure_redis()
                pipeline = shard._redis.pipeline(transaction=False)
                for group, event in published:
                    pipeline.publish(layer._get_group_channel_name(group), self.serialize(event))
                counts = await pipeline.execute()
            heard.update(zip((group for group, _ in published), counts, strict=True))
        return heard

    def is_alone(self, group: str, channel: str) -> bool:
        """Whether no other channel of this process is in the group."""
        layer = self._get_layer()
        channels: set[str] = layer.groups.get(layer._get_group_channel_name(group), set())
        return channels == {channel}
