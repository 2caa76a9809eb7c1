"""The consumer between an ASGI server and the engine: greetings, bad frames, clean ends, fences."""

import asyncio
from typing import Any

import msgspec
import pytest

from messaging import consumers
from messaging.consumers import DeviceConsumer
from messaging.engine import Engine
from messaging.protocol.errors import CloseCode
from messaging.protocol.frames import Send
from messaging.protocol.server.actions import Read
from messaging.protocol.server.admission import MAX_REQUESTS
from presence import roster
from tests import scene
from tests.device import Device, InProcess
from tests.scene import Psql, Room

pytestmark = pytest.mark.django_db


@pytest.fixture
def room(sql: Psql) -> Room:
    return scene.new_room(sql)


async def greeted(socket: InProcess, token: str | None, **more: Any) -> Device:
    return await Device(token or "").connect(socket, token=token, **more)


def sessions(sql: Psql, device: str) -> int:
    return scene.count(sql, "presence_connection", "device_id = %s", device)


# Hello


async def test_the_token_may_come_in_the_header_or_in_hello(engine: Engine, room: Room) -> None:
    by_frame = await greeted(InProcess(DeviceConsumer()), room.first.token)
    by_header = await greeted(InProcess(DeviceConsumer(), token=room.first.token), None)
    for device in (by_frame, by_header):
        assert device.welcome is not None
        assert device.welcome["device"] == room.first.device
        assert device.welcome["user"] == room.first.user
        await device.cut()


async def test_an_unknown_token_is_told_not_to_come_back(engine: Engine) -> None:
    device = await greeted(InProcess(DeviceConsumer()), "no such token")
    assert await device.ended() == CloseCode.UNAUTHORIZED
    goodbye = device.heard[-1]
    assert goodbye["reason"] == "unauthorized"
    assert "reconnect_after" not in goodbye


async def test_without_a_token_there_is_no_session(engine: Engine) -> None:
    device = await greeted(InProcess(DeviceConsumer()), None)
    assert await device.ended() == CloseCode.UNAUTHORIZED


async def test_a_socket_that_does_not_say_hello_is_closed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "HELLO_S", 0.05)
    device = await Device("").connect(InProcess(DeviceConsumer()), hello=False)
    assert await device.ended() == CloseCode.HELLO_TIMEOUT
    assert device.heard[-1]["reconnect_after"] > 0


async def test_a_hello_that_came_in_time_is_answered_however_long_that_takes(
    engine: Engine, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand devices that come back at once wait for each other; cut off, they would come again."""
    timed_out, arrived = asyncio.Event(), engine.roster.arrive

    async def slowly(token: str) -> Any:
        await timed_out.wait()
        return await arrived(token)

    class Watched(DeviceConsumer):
        def _expect_hello(self) -> None:
            super()._expect_hello()
            timed_out.set()

    monkeypatch.setattr(consumers, "HELLO_S", 0.05)
    engine.roster.arrive = slowly  # type: ignore[method-assign]
    device = await greeted(InProcess(Watched()), room.first.token)
    assert timed_out.is_set()
    assert device.welcome is not None
    assert device.closed is None
    await device.cut()


async def test_both_subprotocols_are_spoken_and_others_refused(engine: Engine, room: Room) -> None:
    binary = InProcess(DeviceConsumer(), subprotocols=["else", "lockstep.v1.msgpack"])
    assert (await binary.event())["subprotocol"] == "lockstep.v1.msgpack"
    hello = {"type": "hello", "token": room.first.token}
    await binary.send_bytes(msgspec.msgpack.encode(hello))
    welcome = msgspec.msgpack.decode((await binary.event())["bytes"])
    assert (welcome[0] if isinstance(welcome, list) else welcome)["type"] == "welcome"
    await binary.cut()

    other = await Device("").connect(
        InProcess(DeviceConsumer(), subprotocols=["graphql-ws"]), hello=False
    )
    assert await other.ended() == CloseCode.SUBPROTOCOL


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [("http://testserver", True), ("http://evil.example", False), ("null", False)],
)
async def test_only_pages_of_this_site_may_open_a_socket(
    engine: Engine, room: Room, origin: str, allowed: bool
) -> None:
    socket = InProcess(DeviceConsumer(), headers=[(b"origin", origin.encode())])
    device = await greeted(socket, room.first.token)
    assert (device.welcome is not None) is allowed
    if not allowed:
        assert await device.ended() == CloseCode.ORIGIN
    await device.cut()


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


# Ends


@pytest.mark.parametrize("how", ["disconnect", "broken pipe", "after close", "cancelled"])
async def test_however_a_socket_ends_the_session_is_signed_off(
    engine: Engine, room: Room, sql: Psql, how: str
) -> None:
    raising: dict[str, Exception] = {
        "broken pipe": OSError("the client is gone"),
        "after close": RuntimeError("Unexpected ASGI message 'websocket.send'"),
    }
    socket = InProcess(DeviceConsumer())
    device = await greeted(socket, room.first.token)
    assert sessions(sql, room.first.device) == 1
    if how == "disconnect":
        await device.cut()
    elif how == "cancelled":
        socket.task.cancel()
    else:
        socket.fails = raising[how]
        await device.say({"type": "ping"})
    await asyncio.wait({socket.task}, timeout=scene.PATIENCE_S)
    await scene.eventually(lambda: sessions(sql, room.first.device) == 0)
    assert engine.hub.people.users == []
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
    assert engine.hub.people.users == []


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


# Leaving and revocation are fences


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
    engine: Engine, room: Room, sql: Psql
) -> None:
    device = Device(room.first.token)
    arrived = engine.roster.arrive

    async def revoked_at_once(token: str) -> Any:
        arrival = await arrived(token)
        scene.revoke(sql, room.first.device)
        return arrival

    engine.roster.arrive = revoked_at_once  # type: ignore[method-assign]
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
    assert bob.heard[-1] == left
    assert (await bob.write(room.id, "me too"))["code"] == "no_such_conversation"

    scene.join(sql, room.id, room.second.user)
    back = await bob.hear("conversation")
    assert back["conversation"] == room.id
    await ann.write(room.id, "welcome back")
    await bob.reaches(room.id, ann.cursors[room.id])
    assert bob.bodies(room.id)[-1] == "welcome back"
    assert len(scene.bodies(sql, room.id)) == total + 1


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
