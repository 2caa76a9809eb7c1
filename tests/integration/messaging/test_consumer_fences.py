"""Leaving and revocation are fences: nothing passes one, and whoever asks for one waits until it stands."""

import asyncio
from typing import Any

import pytest

from messaging import consumers
from messaging.consumers import DeviceConsumer
from messaging.engine import Engine
from messaging.protocol.errors import CloseCode
from messaging.protocol.frames import Send
from messaging.protocol.server.outgoing import MESSAGE_BYTES
from presence import roster
from tests import scene
from tests.device import Closed, Device, InProcess, greeted
from tests.scene import Psql, Room, sessions

pytestmark = pytest.mark.django_db


async def test_a_revoked_device_is_cut_and_revoke_answers_only_then(
    attach: Any, room: Room, sql: Psql
) -> None:
    ann, laptop = await attach(room.first), await attach(scene.new_seat(sql, room.first.user))
    await roster.revoke(room.first.device)
    assert sessions(sql, room.first.device) == 0
    assert await ann.ended() == CloseCode.REVOKED
    heard = len(ann.heard)
    await laptop.write(room.id, "after")
    assert len(ann.heard) == heard
    again = await attach(room.first)
    assert await again.ended() == CloseCode.UNAUTHORIZED


async def test_a_revoked_device_is_told_of_nobody_while_the_lease_is_away(
    attach: Any, engine: Engine, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its revocation waits for nobody then. What it did itself it is told only when it is known."""
    ann = await attach(room.first)
    await ann.reaches(room.id, 2)
    with monkeypatch.context() as lapsed:
        lapsed.setattr(type(engine.roster), "alive", property(lambda _: False))
        await engine.journal.submit(
            room.second.device, Send(conversation=room.id, client_id="m", body="m")
        )
        place = len(ann.heard)
        await ann.say({"type": "send", "conversation": room.id, "client_id": "k", "body": "k"})
        assert (await ann.ask(type="ping"))["type"] == "pong"
        await roster.revoke(room.first.device)
        assert await ann.ended() == CloseCode.REVOKED
    assert {frame["type"] for frame in ann.heard[place:]} == {"pong", "goodbye"}


async def test_requests_of_a_revoked_device_are_refused_from_the_commit_on(
    attach: Any, room: Room, sql: Psql
) -> None:
    ann = await attach(room.first)
    scene.revoke(sql, room.first.device)  # the socket may live a moment longer
    await ann.say(
        {"type": "send", "conversation": room.id, "client_id": "late", "body": "late", "ref": 1}
    )
    assert await ann.ended() == CloseCode.REVOKED
    assert scene.bodies(sql, room.id) == []


async def test_a_device_that_does_not_read_cannot_hold_up_its_revocation(
    engine: Engine, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "CLOSE_S", 0.1)
    socket = InProcess(DeviceConsumer())
    device = await greeted(socket, room.first.token)
    socket.taking.clear()
    await device.say({"type": "ping"})  # the answer is stuck on its way
    await scene.eventually(lambda: socket.stuck)
    async with asyncio.timeout(5):
        await roster.revoke(room.first.device)
    assert sessions(sql, room.first.device) == 0


async def test_a_device_revoked_while_it_says_hello_gets_no_session(
    engine: Engine, room: Room, sql: Psql
) -> None:
    """The revocation commits after the token was looked up and before the session is listed."""
    for turns in range(0, 40, 2):
        seat = scene.new_seat(sql, room.first.user)
        socket = InProcess(DeviceConsumer(), token=seat.token)
        await socket.send('{"type":"hello"}')
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(8):
            await roster.revoke(seat.device)
        assert sessions(sql, seat.device) == 0
        await socket.cut()


async def test_a_revocation_between_token_and_session_is_not_overlooked(
    engine: Engine, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(room.first.token)
    arrived = engine.roster.arrive

    async def revoked_at_once(token: str) -> Any:
        arrival = await arrived(token)
        scene.revoke(sql, room.first.device)
        return arrival

    monkeypatch.setattr(engine.roster, "arrive", revoked_at_once)
    await device.connect(InProcess(DeviceConsumer()))
    assert await device.ended() == CloseCode.REVOKED
    assert [frame["type"] for frame in device.heard] == ["goodbye"]
    await scene.eventually(lambda: sessions(sql, room.first.device) == 0)


async def test_a_removed_member_gets_nothing_beyond_the_fence_and_then_left(
    attach: Any, room: Room, sql: Psql
) -> None:
    ann, bob = await attach(room.first), await attach(room.second)
    over = asyncio.Event()

    async def stream() -> int:
        n = 0
        while not over.is_set():
            n += 1
            await ann.write(room.id, f"m{n}")
        return n

    streaming = asyncio.create_task(stream())
    await bob.reaches(room.id, 30)
    fence = scene.leave(sql, room.id, room.second.user)
    left = await bob.hear("left")
    await ann.reaches(room.id, fence + 20)
    over.set()
    total = await streaming
    assert left["upto"] == fence == bob.cursors[room.id]
    assert max(m["seq"] for m in bob.seen[room.id]) == fence
    after = bob.heard[bob.heard.index(left) + 1 :]
    assert {frame["type"] for frame in after} <= {"presence"}  # of whom they now see no more
    assert (await bob.write(room.id, "me too"))["code"] == "no_such_conversation"

    scene.join(sql, room.id, room.second.user)
    back = await bob.hear("conversation")
    assert back["conversation"] == room.id
    await ann.write(room.id, "welcome back")
    await bob.reaches(room.id, ann.cursors[room.id])
    assert bob.bodies(room.id)[-1] == "welcome back"
    assert len(scene.bodies(sql, room.id)) == total + 1


class Breaking(InProcess):
    """A line that breaks behind the first changes."""

    _is_over = False

    async def receive(self) -> str:
        """The next text message. Raises Closed."""
        if self._is_over:
            await self.cut()
            raise Closed(None)
        data = await super().receive()
        self._is_over = '"type":"events"' in data
        return data


async def test_who_lost_the_line_between_the_last_change_and_left_is_told_at_the_next_hello(
    attach: Any, room: Room, sql: Psql
) -> None:
    """Behind a large frame `left` is a message of its own, and with all of its changes the device lacks nothing."""
    ann, bob = await attach(room.first), Device(room.second.token)
    await ann.write(room.id, "x" * (MESSAGE_BYTES - 500))
    fence = scene.leave(sql, room.id, room.second.user)
    await bob.connect(Breaking(DeviceConsumer()))
    await bob.ended()
    assert (bob.cursors[room.id], bob.count("left")) == (fence, 0)
    await attach(bob)
    left = await bob.hear("left")
    assert (left["conversation"], left["upto"]) == (room.id, fence)


async def test_a_member_since_joined_never_sees_older_messages_even_when_they_are_edited(
    attach: Any, sql: Psql
) -> None:
    seats = scene.new_seat(sql), scene.new_seat(sql)
    room = scene.new_room(sql, seats[0], history="since_joined")
    ann = await attach(seats[0])
    secret = await ann.write(room.id, "secret")
    bob = await attach(seats[1])
    scene.join(sql, room.id, seats[1].user)
    await bob.hear("conversation")
    edit = {"type": "edit", "message": secret["message"], "base_version": 1, "client_id": "e"}
    await ann.ask(**edit, body="still secret")
    last = await ann.write(room.id, "open")
    await bob.reaches(room.id, last["seq"])
    assert bob.bodies(room.id) == ["open"]
    page = await bob.ask(type="sync", conversation=room.id, since=0)
    resumed = Device(seats[1].token)
    resumed.cursors[room.id] = 0
    await attach(resumed)
    await resumed.reaches(room.id, last["seq"])
    shown = [*page["messages"], *(m for d in (bob, resumed) for m in d.seen[room.id])]
    assert "secret" not in str(shown)
    fresh = Device(scene.new_seat(sql, seats[1].user).token)
    fresh.cursors[room.id] = 0
    await attach(fresh)
    await fresh.reaches(room.id, last["seq"])
    assert "secret" not in str(fresh.seen)


async def test_an_open_session_keeps_to_the_rule_of_history_as_it_is_changed(
    attach: Any, engine: Engine, sql: Psql
) -> None:
    """It kept to the one it was opened with: an edit of what its device was given meanwhile passed it by, for ever."""
    seats = scene.new_seat(sql), scene.new_seat(sql)
    room = scene.new_room(sql, seats[0], history="since_joined")
    ann = await attach(seats[0])
    old = (await ann.write(room.id, "old"))["message"]
    scene.join(sql, room.id, seats[1].user)
    bob = await attach(seats[1])
    (link,) = engine.hub.people.links_of(seats[1].user)
    feed = link.session.feeds.get(room.id)
    assert feed is not None
    rules = (("all", 0), ("since_joined", feed.joined), ("all", 0))
    for version, (rule, visible_from) in enumerate(rules, start=1):
        sql.execute(RULE, [rule, room.id])
        await scene.eventually(lambda first=visible_from: feed.visible_from == first)
        edit = {"message": old, "base_version": version, "client_id": f"e{version}"}
        edited = await ann.ask(type="edit", **edit, body=rule)
        await bob.reaches(room.id, edited["seq"])
    assert bob.bodies(room.id) == ["all", "all"]


RULE = "UPDATE messaging_conversation SET history = %s WHERE id = %s"


async def test_an_admin_since_joined_is_not_shown_older_messages_by_a_conflict_about_one(
    attach: Any, sql: Psql
) -> None:
    """Its id is no secret: a reply names it."""
    seats = scene.new_seat(sql), scene.new_seat(sql)
    room = scene.new_room(sql, seats[0], history="since_joined")
    ann = await attach(seats[0])
    secret = (await ann.write(room.id, "secret"))["message"]
    scene.join(sql, room.id, seats[1].user, "admin")
    bob = await attach(seats[1])
    for version in (9, 1):
        said = {"type": "delete", "message": secret, "base_version": version}
        answer = await bob.ask(**said, client_id=f"d{version}")
        assert answer["code"] == "no_such_message"
        assert "current" not in answer
    assert scene.bodies(sql, room.id) == ["secret"]
    open_one = (await ann.write(room.id, "open"))["message"]
    answer = await bob.ask(type="delete", message=open_one, base_version=9, client_id="o")
    assert (answer["code"], answer["current"]["body"]) == ("conflict", "open")
