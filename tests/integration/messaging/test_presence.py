"""Presence and typing from the database to the sockets: who is shown whom, how soon, and who never."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests import scene
from tests.device import Device, Frame
from tests.scene import Room

pytestmark = pytest.mark.django_db

SEEN_S = 0.05  # after it was committed
DEBOUNCE_S = 2.0


def known(device: Device, user: str) -> Frame | None:
    """The newest entry of a user that the device was shown."""
    entries = [
        entry
        for frame in device.heard
        if frame["type"] == "presence"
        for entry in frame.get("users", [])
    ]
    return next((entry for entry in reversed(entries) if entry["user"] == user), None)


async def shows(device: Device, user: str, **wanted: Any) -> Frame:
    """Until the device's newest entry of the user says so."""

    def look() -> Frame | None:
        entry = known(device, user)
        return (
            entry
            if entry and all(entry.get(key) == value for key, value in wanted.items())
            else None
        )

    found = await scene.eventually(look, what=lambda: f"{wanted} of {user}: {known(device, user)}")
    assert found is not None
    return found


async def test_members_of_a_small_conversation_see_each_other_come_and_go(
    attach: Any, room: Room
) -> None:
    ann = await attach(room.first)
    assert await shows(ann, room.first.user, state="online")
    assert known(ann, room.second.user) is None
    bob = await attach(room.second)
    await shows(ann, room.second.user, state="online")
    await shows(bob, room.first.user, state="online")
    await bob.cut()
    began = time.monotonic()
    gone = await shows(ann, room.second.user, state="offline")
    assert DEBOUNCE_S - 0.1 < time.monotonic() - began < DEBOUNCE_S + 0.5
    assert gone["last_seen"] > 0
