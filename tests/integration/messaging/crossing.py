"""What the tests of the bus share: another process that writes, and how soon it is heard here."""

import asyncio

from messaging.engine import Engine
from tests import scene
from tests.device import Device
from tests.peer import Peer
from tests.scene import Room


async def hears(engine: Engine) -> None:
    """Until the bus answers and every watched conversation's group is joined."""
    hub = engine.hub
    await scene.eventually(
        lambda: not hub.bus.deaf and all(topic.joined for topic in hub.topics.values())
    )


async def peer_sends(peer: Peer, room: Room, body: str) -> None:
    verdict, _ = await peer.write(
        room.first.device, type="send", conversation=room.id, client_id=body, body=body
    )
    assert verdict == "ok"


async def streamed(peer: Peer, room: Room, device: Device, names: list[str]) -> list[float]:
    """Have the peer commit these one by one; how long after its answer each was seen here, in s."""
    took: list[float] = []
    loop = asyncio.get_running_loop()
    for name in names:
        place = len(device.bodies(room.id))
        await peer_sends(peer, room, name)
        began = loop.time()
        await scene.eventually(lambda place=place: len(device.bodies(room.id)) > place)  # type: ignore[misc]
        took.append(loop.time() - began)
    return took
