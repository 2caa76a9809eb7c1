"""What no session may be shown or be let into, whatever comes at the same moment; and feeds that never end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from messaging.consumers import DeviceConsumer
from messaging.engine import Engine
from messaging.protocol.errors import CloseCode
from messaging.protocol.frames import DeviceMark, MarkSummary
from messaging.protocol.server.batch import Batch
from presence.roster import revoke
from tests import scene
from tests.device import Device, InProcess
from tests.scene import Psql, Room, Seat

pytestmark = pytest.mark.django_db


def marks_heard(device: Device, of: Seat) -> list[int]:
    """How far `of` had got, as it was shown to this device."""
    frames = [frame for frame in device.heard if frame["type"] == "receipts"]
    marks = [mark for frame in frames for mark in frame.get("marks", [])]
    return [mark.get("delivered", 0) for mark in marks if mark["device"] == of.device]


async def test_a_mark_never_overtakes_the_fence_below_it(
    engine: Engine, attach: Any, room: Room, sql: Psql
) -> None:
    """The bus is faster than the feed here: nothing of this loop runs between leave and mark."""
    ann, bob = await attach(room.first, acks=False), await attach(room.second, acks=False)
    await bob.reaches(room.id, 2)
    fence = scene.leave(sql, room.id, room.second.user)
    scene.insert(sql, room.id, "after the fence")
    mark = DeviceMark(device=room.first.device, user=room.first.user, delivered=fence + 1)
    engine.hub.marks.show(room.id, [mark])
    await bob.hear("left")
    await ann.reaches(room.id, fence + 1)
    await ann.hear(lambda frame: fence + 1 in marks_heard(ann, room.first))
    assert (await bob.ask(type="ping"))["type"] == "pong"  # whatever was due is there
    assert marks_heard(bob, room.first) == []
    assert bob.cursors[room.id] == fence


async def test_counts_of_marks_wait_for_the_changes_that_they_count(
    engine: Engine, attach: Any, room: Room, sql: Psql
) -> None:
    ann, bob = await attach(room.first), await attach(room.second)
    fence = scene.leave(sql, room.id, room.second.user)
    topic = engine.hub.topics[room.id]
    counts = MarkSummary(
        last_seq=fence, devices=101, delivered=1, read=0, lowest_delivered=0, lowest_read=0
    )
    engine.hub.marks._show_summary(topic, counts)
    told = await ann.hear(lambda frame: "summary" in frame)
    assert told["summary"]["last_seq"] == fence
    await bob.hear("left")
    assert (await bob.ask(type="ping"))["type"] == "pong"
    assert not [frame for frame in bob.heard if "summary" in frame]


async def test_a_session_that_opens_while_the_lease_lapses_is_refused_to_a_device_revoked_meanwhile(
    engine: Engine, attach: Any, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = engine.hub.door.standings
    lapses = [True]

    async def standings(**asked: str) -> Any:
        """The device was looked up; now the lease lapses, it is revoked unheard, and the lease holds again."""
        if lapses:
            lapses.clear()
            with sql.transaction():
                sql.execute("SET LOCAL lockstep.writer = 'journal'")  # no triggers: nobody is told
                scene.revoke(sql, room.first.device)
            await engine.hub.lease_renewed()
        return await read(**asked)

    monkeypatch.setattr(engine.hub.door, "standings", standings)
    ann = await attach(room.first)
    assert await ann.ended() == CloseCode.REVOKED
    assert ann.welcome is None


async def test_a_look_at_memberships_from_before_a_fence_brings_nobody_back_behind_it(
    engine: Engine, attach: Any, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer is on its way while the fence is told: it still calls the former member a member."""
    ann, bob = await attach(room.first), await attach(room.second)
    await bob.reaches(room.id, 2)
    read = engine.hub.door.standings
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def standings(**of: str) -> Any:
        found = await read(**of)
        if not asked.is_set():
            asked.set()
            await may_answer.wait()
        return found

    monkeypatch.setattr(engine.hub.door, "standings", standings)
    engine.hub.people.hint(room.second.user)
    await asked.wait()
    fence = scene.leave(sql, room.id, room.second.user)
    await bob.hear("left")
    may_answer.set()
    last = await ann.write(room.id, "after the fence")
    await ann.reaches(room.id, last["seq"])
    assert (await bob.ask(type="ping"))["type"] == "pong"  # whatever was due is there
    assert bob.count("conversation") == 0
    assert bob.bodies(room.id) == []
    assert bob.cursors[room.id] == fence


Page = Callable[[str, int], Awaitable[Batch | None]]


async def raises(conversation: str, since: int) -> Batch | None:
    raise RuntimeError("no database error")


async def knows_no_such_conversation(conversation: str, since: int) -> Batch | None:
    return None


async def reads_nonsense(conversation: str, since: int) -> Batch | None:
    return Batch(conversation=conversation, since=since - 1, upto=since + 1, json=b"?", count=1)


@pytest.mark.parametrize("fails", [raises, knows_no_such_conversation, reads_nonsense])
async def test_a_page_that_fails_in_any_way_is_read_again(
    engine: Engine,
    attach: Any,
    room: Room,
    sql: Psql,
    monkeypatch: pytest.MonkeyPatch,
    fails: Page,
) -> None:
    scene.insert(sql, room.id, "missed")
    bob = Device(room.second.token)
    bob.cursors[room.id] = 2
    failed = []

    async def page(conversation: str, since: int) -> Batch | None:
        failed.append(since)
        return await fails(conversation, since)

    with monkeypatch.context() as broken:
        broken.setattr(engine.hub.feed, "page", page)
        await attach(bob)
        await scene.eventually(lambda: failed)
    await bob.ask(type="ping")
    engine.hub.tick()
    await bob.reaches(room.id, 3)
    assert bob.bodies(room.id) == ["missed"]


async def test_a_revocation_does_not_wait_for_a_device_that_takes_nothing(
    engine: Engine, room: Room, sql: Psql
) -> None:
    socket = InProcess(DeviceConsumer())
    ann = await Device(room.first.token, acks=False).connect(socket)
    await ann.reaches(room.id, 2)
    socket.taking.clear()
    scene.insert(sql, room.id, "on its way")
    await scene.eventually(lambda: socket.stuck)
    began = asyncio.get_running_loop().time()
    await revoke(room.first.device)
    assert asyncio.get_running_loop().time() - began < 1.5  # others are given 2 s
    await ann.cut()
