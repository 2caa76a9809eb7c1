"""The channel layer between two server processes: what crosses it, and who hears it."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest
from channels.consumer import AsyncConsumer
from channels.layers import get_channel_layer
from redis import Redis

from messaging.engine import Engine
from messaging.hub.bus import QUEUE_BYTES, Bus, conversation_group
from messaging.protocol.frames import Send
from messaging.protocol.server.batch import Batch
from tests import scene
from tests.device import InProcess
from tests.integration.messaging.crossing import hears, peer_sends, streamed
from tests.peer import Peer
from tests.scene import Psql, Room

pytestmark = pytest.mark.django_db


async def subscribed(layer: Any, channel: str) -> None:
    """Until the layer hears what is sent to it: `group_add` returns before the server has answered."""
    await layer.send(channel, {"type": "ready"})
    while (await layer.receive(channel))["type"] != "ready":
        pass


@pytest.mark.slow
async def test_what_one_process_commits_reaches_the_sessions_of_another(
    engine: Engine, attach: Any, room: Room, peer: Peer
) -> None:
    bob = await attach(room.second)
    await hears(engine)
    names = [f"m{n}" for n in range(20)]
    took = await streamed(peer, room, bob, names)
    print(
        f"\nfrom process to process: median {sorted(took)[10] * 1e3:.1f} ms, max {max(took) * 1e3:.1f} ms"
    )
    assert bob.bodies(room.id) == names
    assert sorted(took)[10] < 0.1  # by the bus, not by the reconciler


@pytest.mark.slow
async def test_both_processes_write_and_every_session_sees_one_order(
    engine: Engine, attach: Any, room: Room, peer: Peer, sql: Psql
) -> None:
    ann, bob = await attach(room.first), await attach(room.second)
    await hears(engine)
    for n in range(100):
        name = f"theirs{n}"
        frame = {"type": "send", "conversation": room.id, "client_id": name, "body": name}
        peer.put(room.first.device, frame)
    for n in range(100):
        await bob.write(room.id, f"ours{n}")
    for _ in range(100):
        assert (await peer.answer())[1] == "ok"
    for device in (ann, bob):
        await device.reaches(room.id, 202)
        assert device.bodies(room.id) == scene.bodies(sql, room.id)


@pytest.mark.slow
async def test_marks_cross_the_bus(engine: Engine, attach: Any, room: Room, peer: Peer) -> None:
    """The peer stores nothing of its own here: its group hears what this process announces."""
    ann = await attach(room.first)
    await hears(engine)
    layer: Any = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(conversation_group(room.id), channel)
    await subscribed(layer, channel)
    await ann.ask(type="receipt", marks=[{"conversation": room.id, "delivered": 2, "read": 1}])
    while (event := await layer.receive(channel))["type"] != "lockstep.receipts":
        pass
    (mark,) = json.loads(event["marks"])
    assert (mark["device"], mark["delivered"]) == (room.first.device, 2)
    await layer.group_discard(conversation_group(room.id), channel)


class Listener(AsyncConsumer):  # type: ignore[misc]
    """What an integrator writes: a plain Channels consumer in a conversation's group."""

    group = ""
    heard: list[dict[str, Any]]

    async def websocket_connect(self, _: Any) -> None:
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.channel_layer.send(self.channel_name, {"type": "ready"})
        await self.send({"type": "websocket.accept"})

    async def ready(self, event: dict[str, Any]) -> None:
        self.heard.append(event)

    async def lockstep_events(self, event: dict[str, Any]) -> None:
        self.heard.append(event)

    async def lockstep_nonce(self, event: dict[str, Any]) -> None:
        """Of a hub that joins the same group."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
async def test_a_plain_channels_consumer_in_the_group_receives_every_batch(
    engine: Engine, room: Room, peer: Peer
) -> None:
    heard: list[dict[str, Any]] = []
    own = {"group": conversation_group(room.id), "heard": heard}
    listener: Any = type("Own", (Listener,), own)
    socket = InProcess(listener.as_asgi())
    assert (await socket.event())["type"] == "websocket.accept"
    await scene.eventually(lambda: heard)
    for n in range(3):
        await peer_sends(peer, room, f"theirs{n}")
        frame = Send(conversation=room.id, client_id=f"ours{n}", body=f"ours{n}")
        await engine.journal.submit(room.first.device, frame)
    await scene.eventually(lambda: len(heard) == 7)
    events = sorted(heard[1:], key=lambda event: event["since"])
    assert [(e["conversation"], e["since"], e["upto"], e["count"]) for e in events] == [
        (room.id, n, n + 1, 1) for n in range(2, 8)
    ]
    bodies = [message["body"] for e in events for message in json.loads(e["messages"])]
    assert sorted(bodies) == sorted(f"{who}{n}" for who in ("ours", "theirs") for n in range(3))
    socket.task.cancel()
    await asyncio.wait({socket.task})


@pytest.mark.slow
async def test_nonsense_in_a_public_group_costs_the_next_event_nothing(
    engine: Engine, attach: Any, room: Room, peer: Peer, valkey: Redis
) -> None:
    bob = await attach(room.second)
    await hears(engine)
    layer: Any = get_channel_layer()
    group = conversation_group(room.id)
    for n in range(20):
        valkey.publish(f"asgi__group__{group}", b"\xc1 no MessagePack")
        await layer.group_send(group, {"type": "lockstep.events", "upto": "no number"})
        await layer.group_send(group, {"no": "type", "n": n})
    [took] = await streamed(peer, room, bob, ["m1"])
    assert took < 2.0  # with a pause for each it would be 10 s, and a pass finds it after 5


@pytest.mark.slow
async def test_what_nobody_else_hears_is_not_published_and_a_hub_that_enters_is_told(
    engine: Engine,
    attach: Any,
    room: Room,
    valkey: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("messaging.hub.audience.BELIEVED_S", 60.0)
    bob = await attach(room.second)
    await hears(engine)
    await bob.write(room.id, "tells that nobody else is there")
    group = conversation_group(room.id)
    await scene.eventually(lambda: engine.hub.bus._audience.lacks(group))
    layer: Any = get_channel_layer()
    with valkey.pubsub(ignore_subscribe_messages=True) as other:
        other.subscribe(f"asgi__group__{group}")
        withheld = await bob.write(room.id, "nobody hears")
        nonce = {"type": "lockstep.nonce", "origin": "other", "conversation": room.id}
        valkey.publish(f"asgi__group__{group}", layer.serialize(nonce))
        told = await _next_events(layer, other)
        assert (told["upto"], told["count"], told["messages"]) == (withheld["seq"], 0, "[]")
        heard = await bob.write(room.id, "it hears")
        assert (await _next_events(layer, other))["upto"] == heard["seq"]


async def _next_events(layer: Any, subscriber: Any) -> dict[str, Any]:
    """The next batch that a subscriber hears."""
    heard: list[dict[str, Any]] = []

    def look() -> bool:
        if message := subscriber.get_message():
            event = layer.deserialize(message["data"])
            heard.extend([event] if event["type"] == "lockstep.events" else [])
        return bool(heard)

    await scene.eventually(look)
    return heard[0]


@pytest.mark.slow
@pytest.mark.parametrize("epoch", ["another", None])
async def test_a_batch_of_another_epoch_is_not_believed_even_where_it_fits(
    engine: Engine, attach: Any, room: Room, peer: Peer, epoch: str | None
) -> None:
    """A process that has not noticed yet that the database was restored; one of before tells no epoch."""
    bob = await attach(room.second)
    await hears(engine)
    await scene.eventually(lambda: engine.hub.epoch.known)
    since = engine.hub.topics[room.id].position
    told = {
        "id": str(uuid4()),
        "seq": since + 1,
        "position": since + 1,
        "kind": "text",
        "created": 0,
    }
    event = {
        "type": "lockstep.events",
        "conversation": room.id,
        "since": since,
        "upto": since + 1,
        "count": 1,
        "oldest": since + 1,
        "fences": [],
        "messages": json.dumps([{**told, "body": "of another life"}]),
        "origin": "other",
        "epoch": epoch,
    }
    await get_channel_layer().group_send(conversation_group(room.id), event)
    if epoch is None:
        await bob.reaches(room.id, since + 1)
        assert bob.bodies(room.id) == ["of another life"]
    else:
        await peer_sends(peer, room, "of this life")
        await bob.reaches(room.id, since + 1)
        assert bob.bodies(room.id) == ["of this life"]


def lonely_bus() -> Bus:
    """A bus that nobody listens with."""
    return Bus(
        on_batch=lambda _: None,
        on_marks=lambda *_: None,
        on_joined=lambda _: None,
        on_doubt=lambda: None,
        on_return=lambda: None,
    )


async def test_what_waits_to_be_published_is_bounded_in_bytes_and_makes_room_again(
    redis_url: str,
) -> None:
    """Before its start, the bus publishes as little as with a server that hangs."""
    bus, layer, room = lonely_bus(), get_channel_layer(), str(uuid4())
    body = b'[{"body":"' + b"x" * 1_000_000 + b'"}]'
    for n in range(50):
        batch = Batch(conversation=room, since=n, upto=n + 1, json=body, count=1, oldest=n)
        bus.publish_batch(batch)
    kept = bus._queue.qsize()
    assert kept == QUEUE_BYTES // len(body) + 1
    channel = await layer.new_channel()
    await layer.group_add(conversation_group(room), channel)
    await subscribed(layer, channel)
    await bus.start()
    heard = [(await layer.receive(channel))["upto"] for _ in range(kept)]
    assert heard == list(range(1, kept + 1))  # the newest were dropped
    await scene.eventually(lambda: bus._queued_bytes == 0)
    bus.publish_batch(Batch(conversation=room, since=50, upto=51, json=body, count=1, oldest=51))
    assert (await layer.receive(channel))["upto"] == 51
    await bus.close()
    await layer.group_discard(conversation_group(room), channel)
