"""The consumer between an ASGI server and the engine: bad frames, writing and reading, clean ends."""

import asyncio
from typing import Any

import pytest

from messaging.consumers import DeviceConsumer
from messaging.engine import Engine
from messaging.protocol.errors import CloseCode
from messaging.protocol.frames import Send
from messaging.protocol.server.actions import Read
from messaging.protocol.server.admission import MAX_REQUESTS
from messaging.protocol.server.session import Session
from tests import scene
from tests.device import Device, InProcess, greeted
from tests.scene import Psql, Room, sessions

pytestmark = pytest.mark.django_db


# Frames


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("", "bad_frame"),
        ("{", "bad_frame"),
        ("[]]", "bad_frame"),
        ('"hello"', "bad_frame"),
        ('{"type":"send"}', "bad_frame"),
        ('{"type":"nonsense","ref":7}', "unknown_type"),
        ('{"type":"hello"}', "already_open"),
        ('{"type":"send","conversation":"x","client_id":"k","body":"\\u0000"}', "bad_frame"),
        ("[" * 5_000, "bad_frame"),
        ('{"type":"ping","ref":"' + "x" * 1_100_000 + '"}', "too_large"),
    ],
    ids=lambda value: value[:24] or "empty",
)
async def test_a_bad_frame_gets_a_typed_error_and_the_session_goes_on(
    attach: Any, room: Room, data: str, code: str
) -> None:
    device = await attach(room.first)
    await device.say_raw(data)
    error = await device.hear("error")
    assert error["code"] == code
    assert error.get("definite", True)
    assert (await device.ask(type="ping"))["type"] == "pong"


async def test_bad_frames_between_good_ones_harm_only_themselves(attach: Any, room: Room) -> None:
    device = await attach(room.first)
    await device.say_raw(
        '[{"type":"ping","ref":1},{"type":"what","ref":2},{"type":"send","ref":3},{"type":"ping","ref":4}]'
    )
    await device.hear(lambda f: f.get("ref") == 4)
    answers = [(f.get("ref"), f["type"]) for f in device.heard if "ref" in f]
    assert answers == [(1, "pong"), (2, "error"), (3, "error"), (4, "pong")]


async def test_frames_before_hello_are_refused(engine: Engine, room: Room) -> None:
    device = await Device(room.first.token).connect(InProcess(DeviceConsumer()), hello=False)
    assert (await device.ask(type="ping"))["code"] == "not_ready"
    await device.say({"type": "hello", "token": room.first.token})
    await device.hear("welcome")
    await device.cut()


async def test_abuse_is_ended_with_1008(attach: Any, room: Room) -> None:
    device = await attach(room.first)
    for _ in range(200):
        await device.say_raw("rubbish")
    assert await device.ended() == CloseCode.ABUSE
    assert device.heard[-1]["reason"] == "abuse"


# Writing and reading


async def test_what_one_device_sends_the_other_gets_and_the_sender_is_told_its_place(
    attach: Any, room: Room
) -> None:
    ann, bob = await attach(room.first), await attach(room.second)
    answer = await ann.write(room.id, "hello")
    assert (answer["type"], answer["seq"], answer["position"]) == ("ok", 3, 3)
    assert answer["client_id"] == "hello"
    await bob.reaches(room.id, 3)
    await ann.reaches(room.id, 3)
    for device in (ann, bob):
        shown = device.seen[room.id][-1]
        assert (shown["id"], shown["body"]) == (answer["message"], "hello")
        assert (shown["device"], shown["user"]) == (room.first.device, room.first.user)


async def test_refusals_come_back_with_their_reference(attach: Any, room: Room) -> None:
    ann, bob = await attach(room.first), await attach(room.second)
    sent = await ann.write(room.id, "m1")
    await bob.reaches(room.id, 3)  # live: a page that is read later has the edit alone
    edit = {"type": "edit", "message": sent["message"], "base_version": 1, "client_id": "e1"}
    assert (await bob.ask(**edit, body="mine"))["code"] == "forbidden"
    assert (await ann.ask(**edit, body="better"))["version"] == 2
    conflict = await ann.ask(**edit | {"client_id": "e2"}, body="late")
    assert (conflict["code"], conflict["current"]["body"]) == ("conflict", "better")
    assert (await ann.write(room.first.user, "x"))["code"] == "no_such_conversation"
    await bob.reaches(room.id, 4)
    assert [(m["seq"], m["position"]) for m in bob.seen[room.id][-2:]] == [(3, 3), (4, 3)]


async def test_a_receipt_with_a_mark_that_is_ahead_gets_one_answer_and_the_others_are_stored(
    attach: Any, room: Room, sql: Psql
) -> None:
    other = scene.new_room(sql, *room.seats)
    device = await attach(room.first, acks=False)
    marks = [
        {"conversation": room.id, "delivered": 99},
        {"conversation": other.id, "delivered": 1, "read": 1},
    ]
    await device.say({"type": "receipt", "ref": "ahead", "marks": marks})
    done = await device.ask(type="receipt", marks=[{"conversation": room.id, "delivered": 1}])
    assert done["type"] == "ok"
    answers = [frame for frame in device.heard if frame.get("ref") == "ahead"]
    assert [frame.get("code") for frame in answers] == ["cursor_ahead"]
    where = "device_id = %s AND conversation_id = %s AND read = 1"
    assert scene.count(sql, "messaging_receipt", where, room.first.device, other.id)


async def test_sync_reads_pages_of_the_feed(attach: Any, room: Room) -> None:
    device = await attach(room.first)
    for n in range(5):
        await device.write(room.id, f"m{n}")
    page = await device.ask(type="sync", conversation=room.id, since=2, limit=3)
    assert (page["since"], page["upto"]) == (2, 5)
    assert [m["body"] for m in page["messages"]] == ["m0", "m1", "m2"]
    last = await device.ask(type="sync", conversation=room.id, since=5, limit=3)
    assert (last["since"], last["upto"], len(last["messages"])) == (5, 7, 2)
    other = await device.ask(type="sync", conversation=room.first.user, since=0)
    assert other["code"] == "no_such_conversation"


async def test_a_client_that_does_not_ack_is_fed_again_as_it_acks(
    attach: Any, room: Room, sql: Psql
) -> None:
    ann = await attach(room.first)
    mute = await attach(room.second, acks=False)
    credit = mute.welcome["window"]["messages"]
    total = credit + 500
    for n in range(0, total, 250):
        frames = [
            {"type": "send", "conversation": room.id, "client_id": f"m{i}", "body": f"m{i}"}
            for i in range(n, n + 250)
        ]
        await ann.say(*frames)
        await ann.reaches(room.id, n + 252)
    assert len(mute.bodies(room.id)) < total
    mute.acks = True
    mark = {"conversation": room.id, "delivered": mute.cursors[room.id]}
    await mute.say({"type": "receipt", "marks": [mark]})
    await mute.reaches(room.id, total + 2)
    assert mute.bodies(room.id) == [f"m{n}" for n in range(total)]


async def test_a_client_that_never_acks_may_say_so(attach: Any, room: Room, sql: Psql) -> None:
    simple = await attach(room.second, acks=False, auto_ack=True)
    ann = await attach(room.first)
    for n in range(3):
        await ann.write(room.id, f"m{n}")
    await simple.reaches(room.id, 5)
    stored = "device_id = %s AND conversation_id = %s AND delivered = 5"
    await scene.eventually(
        lambda: scene.count(sql, "messaging_receipt", stored, room.second.device, room.id)
    )


@pytest.mark.slow
async def test_a_mute_session_reads_no_more_than_it_can_hold_answers_for(
    attach: Any, engine: Engine, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10: its answers wait for the lease, so further requests wait in the socket."""
    ann = await attach(room.first)
    names = [f"m{n}" for n in range(MAX_REQUESTS + 200)]
    (link,) = engine.hub.people.links
    with monkeypatch.context() as lapsed:
        lapsed.setattr(type(engine.roster), "alive", property(lambda _: False))
        for n, name in enumerate(names):
            frame = {"type": "send", "conversation": room.id, "client_id": name, "body": name}
            await ann.say(frame)
            await scene.eventually(
                lambda n=n: link.session.congested or scene.last_seq(sql, room.id) == n + 3  # type: ignore[misc]
            )
        for n in range(20):  # time in which more could be read
            other = Send(conversation=room.id, client_id=f"other{n}", body="other")
            await engine.journal.submit(room.second.device, other)
        assert (
            len([body for body in scene.bodies(sql, room.id) if body in names]) < len(names) - 150
        )
        assert ann.count("ok") == 0
    engine.hub.tick()
    await ann.hear(lambda f: f["type"] == "ok" and f["client_id"] == names[-1])
    assert [f["client_id"] for f in ann.heard if f["type"] == "ok"] == names


# Ends


@pytest.mark.parametrize("how", ["disconnect", "broken pipe", "cancelled"])
async def test_however_a_socket_ends_the_session_is_signed_off(
    engine: Engine, room: Room, sql: Psql, how: str
) -> None:
    socket = InProcess(DeviceConsumer())
    device = await greeted(socket, room.first.token)
    assert sessions(sql, room.first.device) == 1
    if how == "disconnect":
        await device.cut()
    elif how == "cancelled":
        socket.task.cancel()
    else:
        socket.fails = OSError("the client is gone")
        await device.say({"type": "ping"})
    await asyncio.wait({socket.task}, timeout=scene.PATIENCE_S)
    await scene.eventually(lambda: sessions(sql, room.first.device) == 0)
    await scene.eventually(lambda: engine.hub.people.users == [])  # who asks has to hear of it
    assert engine.hub.topics == {}
    assert engine.roster.sessions == {}


async def test_a_socket_that_ends_while_it_says_hello_leaves_nothing(
    engine: Engine, room: Room, sql: Psql
) -> None:
    """However the loop's turns fall: the end comes a little later each time."""
    for turns in range(0, 60, 3):
        socket = InProcess(DeviceConsumer(), token=room.first.token)
        await socket.send('{"type":"hello"}')
        for _ in range(turns):
            await asyncio.sleep(0)
        await socket.cut()
    await scene.eventually(lambda: not engine.roster.sessions)
    await scene.eventually(lambda: sessions(sql, room.first.device) == 0)
    await scene.eventually(lambda: engine.hub.people.users == [])  # who asks has to hear of it


async def test_an_error_of_our_own_ends_one_session_with_a_reconnectable_code(
    attach: Any, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = DeviceConsumer._act

    def broken(consumer: DeviceConsumer, action: Any) -> None:
        if isinstance(action, Read):
            raise ZeroDivisionError
        sound(consumer, action)

    ann, bob = await attach(room.first), await attach(room.second)
    with monkeypatch.context() as patch:
        patch.setattr(DeviceConsumer, "_act", broken)
        await ann.say({"type": "sync", "conversation": room.id, "since": 0})
        assert await ann.ended() == CloseCode.INTERNAL
    assert (await bob.ask(type="ping"))["type"] == "pong"


@pytest.mark.parametrize("error", [RuntimeError, OSError, TimeoutError])
async def test_an_error_of_our_own_is_not_taken_for_a_client_that_is_gone(
    attach: Any,
    room: Room,
    sql: Psql,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type[Exception],
) -> None:
    """Whatever its type: what says that the socket is closed is the server's own `send`."""

    def broken(*_: Any, **__: Any) -> None:
        raise error("planted")

    ann = await attach(room.first)
    with monkeypatch.context() as patch:
        patch.setattr(Session, "outgoing", broken)
        await ann.say({"type": "ping"})
        assert await ann.ended() == CloseCode.INTERNAL
    assert "planted" in caplog.text
    await scene.eventually(lambda: sessions(sql, room.first.device) == 0)
