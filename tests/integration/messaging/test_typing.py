"""Typing from socket to socket: to whom it is shown, and whose never."""

from __future__ import annotations

from typing import Any

import pytest

from messaging.engine import Engine
from tests import scene
from tests.peer import Peer
from tests.scene import Psql, Room
from tests.sight import follow, say, shows

pytestmark = pytest.mark.django_db


@pytest.mark.slow
async def test_typing_is_shown_to_the_others_and_to_nobody_else(
    peer: Peer, engine: Engine, attach: Any, room: Room, sql: Psql
) -> None:
    ann, bob = await attach(room.first), await attach(room.second)
    laptop = await attach(scene.new_seat(sql, room.second.user))
    outside = await attach(scene.new_seat(sql))
    await follow(engine, room, ann, bob, laptop)
    await bob.say({"type": "typing", "conversation": room.id})
    await ann.hear(
        lambda f: f["type"] == "typing" and f["user"] == room.second.user and f["typing"]
    )
    await bob.say({"type": "typing", "conversation": room.id, "typing": False})
    await ann.hear(lambda f: f["type"] == "typing" and not f["typing"])
    event = {"conversation": room.id, "user": room.first.user, "device": room.first.device}
    await peer.do("type", **event, typing=True, upto=0)
    for device in (bob, laptop):
        await device.hear(lambda f: f["type"] == "typing" and f["user"] == room.first.user)
    counts = [device.count("typing") for device in (ann, bob, laptop, outside)]
    assert counts == [2, 1, 1, 0]


@pytest.mark.slow
async def test_typing_behind_a_change_that_is_not_here_yet_is_not_shown(
    peer: Peer, engine: Engine, attach: Any, room: Room
) -> None:
    """That change may be the end of the viewer's stay."""
    bob = await attach(room.second)
    await follow(engine, room, bob)
    event = {"conversation": room.id, "user": room.first.user, "device": room.first.device}
    await peer.do("type", **event, typing=True, upto=99)
    await peer.do("type", **event, typing=False, upto=2)
    heard = await bob.hear("typing")
    assert heard["typing"] is False


async def test_whoever_is_invisible_types_unseen(engine: Engine, attach: Any, room: Room) -> None:
    """Or the others would know that they are here."""
    ann, bob = await attach(room.first), await attach(room.second)
    await follow(engine, room, ann, bob)
    await say(bob, type="presence.set", invisible=True)
    await shows(bob, room.second.user, invisible=True)
    await bob.say({"type": "typing", "conversation": room.id})
    await say(bob, type="presence.set", invisible=False)
    await shows(bob, room.second.user, invisible=None)
    await bob.say({"type": "typing", "conversation": room.id, "typing": False})
    heard = await ann.hear("typing")
    assert "typing" in heard
    assert heard["typing"] is False, "the first that is shown is the second that was said"


async def test_whoever_is_no_member_does_not_type(attach: Any, room: Room, sql: Psql) -> None:
    ann, outside = await attach(room.first), await attach(scene.new_seat(sql))
    await outside.say({"type": "typing", "conversation": room.id})
    refusal = await outside.hear("error")
    assert refusal["code"] == "no_such_conversation"
    assert ann.count("typing") == 0
