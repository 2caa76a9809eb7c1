"""Too much of anything is refused with a type and a time, early, and in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.conf import settings

from messaging.consumers import DeviceConsumer
from messaging.engine import Engine
from messaging.overload import door as doors
from messaging.overload.door import AT_ONCE, door
from messaging.overload.pressure import NO_HINTS
from messaging.protocol.errors import CloseCode, Refusal
from messaging.protocol.server.admission import MAX_REQUESTS
from presence import database
from tests import scene
from tests.device import Device, InProcess
from tests.scene import Psql, Room, sessions

pytestmark = pytest.mark.django_db

MANY = """
INSERT INTO messaging_message (conversation_id, body) SELECT %s, repeat('x', 200) FROM generate_series(1, 500)
"""


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Sets settings of messaging, for a new door."""

    def give(**values: Any) -> None:
        monkeypatch.setattr(settings, "LOCKSTEP_MESSAGING", values, raising=False)
        doors._doors.clear()

    yield give
    doors._doors.clear()


async def turned_away(seat: scene.Seat) -> Device:
    """A device that came and heard that there is no room."""
    device = await Device(seat.token).connect(InProcess(DeviceConsumer()))
    assert await device.ended() == CloseCode.FULL
    goodbye = device.heard[-1]
    assert (goodbye["type"], goodbye["reason"]) == ("goodbye", "full")
    assert goodbye["reconnect_after"] > 0
    return device


async def test_a_connection_beyond_the_bound_is_told_when_to_come_back_and_costs_no_session(
    given: Any, attach: Any, room: Room, sql: Psql
) -> None:
    given(connections=1)
    first = await attach(room.first)
    refused = await turned_away(room.second)
    assert refused.count("welcome") == 0
    assert sessions(sql, room.second.device) == 0
    assert (await first.write(room.id, "served"))["type"] == "ok"
    await first.cut()
    await scene.eventually(lambda: door().inside == 0)
    await attach(room.second)


async def test_while_the_process_is_too_busy_only_those_inside_are_served(
    attach: Any, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await attach(room.first), await attach(room.second)
    monkeypatch.setattr(door().pressure, "note", lambda **_: None)
    monkeypatch.setattr(door().pressure, "level", NO_HINTS)
    async with AsyncExitStack() as others:
        for _ in range(AT_ONCE):
            await others.enter_async_context(door().turn())
        await turned_away(scene.Seat(device="", user="", token="x"))
    assert (await ann.ask(type="presence.set", text="busy"))["code"] == "overloaded"
    await ann.say({"type": "typing", "conversation": room.id})
    assert (await ann.write(room.id, "served"))["type"] == "ok"
    await bob.reaches(room.id, 3)
    assert bob.count("typing") == 0


async def test_a_hello_that_would_wait_too_long_is_told_to_come_back(
    given: Any, attach: Any, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(hello_wait_s=-1.0)  # no wait is short enough
    await turned_away(room.first)
    monkeypatch.setattr(door(), "enter", lambda: None)  # it came in before the others asked
    await turned_away(room.first)


async def test_a_hello_that_waited_while_the_process_began_to_end_is_told_so(
    engine: Engine, room: Room
) -> None:
    """It would be a session to which nobody says goodbye any more."""
    async with AsyncExitStack() as others:
        for _ in range(AT_ONCE):
            await others.enter_async_context(door().turn())
        device = await Device(room.first.token).connect(InProcess(DeviceConsumer()), hello=False)
        await device.say({"type": "hello", "token": room.first.token})
        await scene.eventually(lambda: door()._waiting)
        engine.draining = True
    assert await device.ended() == CloseCode.RESTART
    assert device.count("welcome") == 0


async def test_sends_beyond_the_rate_are_refused_and_commit_in_order_when_repeated(
    given: Any, attach: Any, room: Room, sql: Psql
) -> None:
    """G5: all of them in one WebSocket message, more than the bucket holds."""
    given(device_writes_per_s=100.0, burst_s=0.1)
    device = await attach(room.first)
    wanted = [f"m{n}" for n in range(25)]
    left, refusals = list(wanted), set()
    while left:
        since = len(device.heard)
        sent = [
            {"type": "send", "conversation": room.id, "client_id": key, "body": key} for key in left
        ]
        await device.say(*sent)
        answers = [await device.hear(_answers(key), since=since) for key in left]
        refused = [a for a in answers if a["type"] == "error"]
        refusals |= {answer["code"] for answer in refused}
        left = [answer["client_id"] for answer in refused]
        assert all(answer.get("definite", True) and answer["retry_after"] for answer in refused)
        if refused:
            await asyncio.sleep(refused[0]["retry_after"] / 1000)
    assert refusals == {"rate_limited", "after_refused"}
    assert scene.bodies(sql, room.id) == wanted


async def test_whoever_keeps_to_the_limits_is_refused_and_not_sent_away(
    given: Any, attach: Any, room: Room
) -> None:
    """As many as may be unanswered were on the way when the first was refused, each for something else."""
    given(device_writes_per_s=10.0)
    device = await attach(room.first)
    keys = [f"k{n}" for n in range(MAX_REQUESTS)]
    change = {"type": "delete", "message": room.id, "base_version": 1}
    await device.say(*(change | {"client_id": key} for key in keys))
    answers = [await device.hear(_answers(key)) for key in keys]
    assert {answer["code"] for answer in answers} == {"no_such_message", "rate_limited"}
    assert (await device.ask(type="ping"))["type"] == "pong"
    for _ in range(4):  # and this is no client that waits
        await device.say(*(change | {"client_id": key} for key in keys))
    assert await device.ended() == CloseCode.OVERLOADED
    assert "retry_after" in device.heard[-1]["message"]


def _answers(key: str) -> Any:
    return lambda frame: frame.get("client_id") == key and frame["type"] in ("ok", "error")


async def test_marks_beyond_the_rate_are_stored_all_the_same_and_read_more_slowly(
    given: Any, attach: Any, room: Room, sql: Psql
) -> None:
    """Refusing one would take the device's credit away."""
    given(device_hints_per_s=10.0, burst_s=0.4)
    device = await attach(room.first, acks=False)
    for _ in range(8):
        await device.say({"type": "receipt", "marks": [{"conversation": room.id, "delivered": 2}]})
    await scene.eventually(
        lambda: scene.count(
            sql, "messaging_receipt", "device_id = %s AND delivered = 2", room.first.device
        )
    )
    asked = asyncio.get_running_loop().time()
    assert (await device.ask(type="ping"))["type"] == "pong"
    assert asyncio.get_running_loop().time() - asked > 0.2
    assert device.count("error") == 0


async def test_while_the_breaker_is_open_requests_and_hellos_are_refused_at_once(
    attach: Any, room: Room, monkeypatch: pytest.MonkeyPatch, sql: Psql
) -> None:
    device = await attach(room.first)
    with monkeypatch.context() as patch:
        patch.setattr(database.breaker, "succeeded", lambda: None)  # of what runs by itself
        patch.setattr(database.breaker, "is_open", True)
        patch.setattr(database.breaker, "refuses", lambda: True)
        refused = await device.write(room.id, "one")
        assert (refused["code"], refused.get("definite", True)) == (Refusal.UNAVAILABLE.code, True)
        assert refused["retry_after"] > 0
        assert (await device.write(room.id, "two"))["code"] == "after_refused"
        late = await Device(room.second.token).connect(InProcess(DeviceConsumer()))
        assert await late.ended() == CloseCode.UNAVAILABLE
    assert (await device.write(room.id, "two"))["code"] == "after_refused"
    for body in ("one", "two"):
        assert (await device.write(room.id, body))["type"] == "ok"
    assert scene.bodies(sql, room.id) == ["one", "two"]


async def test_the_writes_of_a_journal_that_fails_for_long_are_refused_until_one_succeeds(
    engine: Engine, attach: Any, room: Room
) -> None:
    device = await attach(room.first)
    engine.journal.breaker.failed(since=0.0)
    assert (await device.write(room.id, "one"))["code"] == "unavailable"
    refused = await device.write(room.id, "one")
    while refused["type"] != "ok":  # the one a second that may try
        assert refused["code"] == "unavailable"
        await asyncio.sleep(0.05)
        refused = await device.write(room.id, "one")
    assert engine.journal.breaker.state == "closed"


async def test_questions_about_the_feed_are_asked_one_by_one_and_not_without_credit(
    engine: Engine, attach: Any, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked all at once they would keep the connection from all who catch up, for answers that nobody takes."""
    ann, reads = await attach(room.first), 0
    sql.execute(MANY, [room.id])
    await ann.reaches(room.id, 502)
    read, ann.acks = engine.hub.feed.pages, False

    async def pages(asked: Any, *, limit: int) -> Any:
        nonlocal reads
        reads += 1
        return await read(asked, limit=limit)

    monkeypatch.setattr(engine.hub.feed, "pages", pages)
    questions = [
        {"type": "sync", "conversation": room.id, "since": 0, "limit": 500, "ref": n}
        for n in range(100)
    ]
    await ann.say(*questions)
    for question in questions:
        await ann.hear(lambda frame, ref=question["ref"]: frame.get("ref") == ref)
    assert reads <= 2
