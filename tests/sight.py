"""What a device was shown of people: its `presence` frames, read as a stranger reads them."""

from __future__ import annotations

from typing import Any

from messaging.engine import Engine
from tests import scene
from tests.device import Device, Frame
from tests.scene import Room


def entries(device: Device, user: str, *, since: int = 0) -> list[Frame]:
    """What the device was shown of a user, one after the other."""
    return [
        entry
        for frame in device.heard[since:]
        if frame["type"] == "presence"
        for entry in frame.get("users", [])
        if entry["user"] == user
    ]


async def shows(
    device: Device, user: str, *, since: int = 0, within: float = scene.PATIENCE_S, **wanted: Any
) -> Frame:
    """Until the device's newest entry of the user is so."""

    def look() -> Frame | None:
        found = entries(device, user, since=since)
        return found[-1] if found and _is(found[-1], wanted) else None

    told = await scene.eventually(
        look, within=within, what=lambda: f"{wanted}: {entries(device, user)}"
    )
    assert told is not None
    return told


def _is(entry: Frame, wanted: dict[str, Any]) -> bool:
    return all(entry.get(key) == value for key, value in wanted.items())


async def looked(engine: Engine) -> None:
    """Until whatever the board knows to look at was looked at and shown."""
    await engine.hub.presence.check()


async def hears(engine: Engine) -> None:
    """Until this process hears the hints of others."""
    await scene.eventually(lambda: engine.hub.presence.hears)
    await looked(engine)


async def follow(engine: Engine, room: Room, *devices: Device) -> None:
    """Until these have all of the conversation, and its group on the bus is heard."""
    for device in devices:
        await device.reaches(room.id, engine.hub.topics[room.id].position)
    await scene.eventually(lambda: engine.hub.topics[room.id].joined)
    await looked(engine)  # nobody types before it is known whether they are invisible


async def say(device: Device, **frame: Any) -> Frame:
    """Ask, and expect that it is done."""
    answer = await device.ask(**frame)
    assert answer["type"] in ("ok", "presence"), answer
    return answer
