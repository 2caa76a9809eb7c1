"""The hub between database, journal and sessions: foreign writes, holes, resumption, memberships."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from messaging.engine import Engine
from messaging.hub.feed import PAGE
from messaging.hub.topic import Topic
from messaging.protocol.errors import CloseCode
from messaging.protocol.frames import Message, Send
from messaging.protocol.server.batch import Batch
from tests import scene
from tests.device import Device
from tests.scene import Psql, Room

pytestmark = pytest.mark.django_db


def frame(room: Room, body: str) -> Send:
    return Send(conversation=room.id, client_id=body, body=body)


# Writes that pass by the journal (G9)


async def test_plain_sql_reaches_a_live_session(attach: Any, room: Room, sql: Psql) -> None:
    bob = await attach(room.second)
    message = scene.insert(sql, room.id, "inserted")
    await bob.reaches(room.id, 3)
    sql.execute("UPDATE messaging_message SET body = 'updated' WHERE id = %s", [message])
    await bob.reaches(room.id, 4)
    sql.execute("DELETE FROM messaging_message WHERE id = %s", [message])
    await bob.reaches(room.id, 5)
    shown = [m for m in bob.seen[room.id] if m["id"] == message]
    assert [(m["seq"], m["position"], m["version"]) for m in shown] == [
        (3, 3, 1),
        (4, 3, 2),
        (5, 3, 3),
    ]
    assert [m.get("body", "") for m in shown] == ["inserted", "updated", ""]
    assert "deleted" in shown[-1]


async def test_titles_and_members_changed_by_sql_reach_a_live_session(
    attach: Any, room: Room, sql: Psql
) -> None:
    bob = await attach(room.second)
    sql.execute("UPDATE messaging_conversation SET title = 'Hall' WHERE id = %s", [room.id])
    cas = scene.new_seat(sql)
    scene.join(sql, room.id, cas.user)
    scene.leave(sql, room.id, cas.user)
    await bob.reaches(room.id, 5)
    events = [json.loads(m["body"]) for m in bob.seen[room.id] if m["kind"] == "system"]
    assert [e["event"] for e in events] == ["joined", "title", "joined", "left"]
    assert (events[1]["title"], events[2]["user"]) == ("Hall", cas.user)


async def test_a_thousand_rows_of_one_statement_arrive_in_order(
    attach: Any, room: Room, sql: Psql
) -> None:
    bob = await attach(room.second)
    sql.execute(
        "INSERT INTO messaging_message (conversation_id, body)"
        " SELECT %s, 'row ' || n FROM generate_series(1, 1000) n",
        [room.id],
    )
    await bob.reaches(room.id, 1_002)
    assert bob.bodies(room.id) == scene.bodies(sql, room.id)
    assert len(bob.bodies(room.id)) == 1_000


async def test_foreign_and_own_writes_mixed_arrive_in_one_order(
    engine: Engine, attach: Any, room: Room, sql: Psql
) -> None:
    ann, bob = await attach(room.first), await attach(room.second)
    for n in range(50):
        asked = asyncio.ensure_future(ann.write(room.id, f"ours{n}"))
        scene.insert(sql, room.id, f"theirs{n}")
        assert (await asked)["type"] == "ok"
    for device in (ann, bob):
        await device.reaches(room.id, 102)
        assert device.bodies(room.id) == scene.bodies(sql, room.id)


ANSWER = """
CREATE FUNCTION site_answer() RETURNS trigger LANGUAGE plpgsql {setting} AS $$
BEGIN
    INSERT INTO messaging_message (conversation_id, body)
        SELECT conversation_id, 'at nine' FROM new_rows WHERE body = 'when?';
    RETURN NULL;
END $$;
CREATE TRIGGER site_answer AFTER INSERT ON messaging_message REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION site_answer();
"""


async def test_what_a_trigger_of_the_site_writes_is_seen_whoever_fired_it(
    attach: Any, room: Room, sql: Psql
) -> None:
    """As docs/django.md says."""
    ann, bob = await attach(room.first), await attach(room.second)
    sql.execute(ANSWER.format(setting="SET lockstep.writer = ''"))
    try:
        await ann.write(room.id, "when?")
        await bob.reaches(room.id, 4)
        scene.insert(sql, room.id, "when?")
        await bob.reaches(room.id, 6)
    finally:
        sql.execute("DROP FUNCTION site_answer CASCADE")
    assert bob.bodies(room.id) == ["when?", "at nine"] * 2


async def test_whoever_is_added_by_sql_hears_of_it_at_once(
    attach: Any, room: Room, sql: Psql
) -> None:
    cas = scene.new_seat(sql)
    phone, laptop = await attach(cas), await attach(scene.new_seat(sql, cas.user))
    scene.insert(sql, room.id, "before")
    scene.join(sql, room.id, cas.user)
    scene.insert(sql, room.id, "after")
    for device in (phone, laptop):
        told = await device.hear("conversation")
        assert (told["conversation"], told["kind"]) == (room.id, "group")
        await device.reaches(room.id, 5)
        assert device.bodies(room.id)[-1] == "after"


async def test_whoever_is_added_to_many_conversations_one_by_one_is_looked_at_a_few_times(
    engine: Engine, attach: Any, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look reads all that they are in, for each of their sessions: one for each hint was the square of it."""
    dan, looks = scene.new_seat(sql), 0
    read, rooms = engine.hub.door.standings, [scene.new_room(sql).id for _ in range(50)]
    device = await attach(dan)

    async def standings(**of: str) -> Any:
        nonlocal looks
        looks += 1
        return await read(**of)

    monkeypatch.setattr(engine.hub.door, "standings", standings)
    for room in rooms:  # nobody else has a turn meanwhile
        scene.join(sql, room, dan.user)
    for room in rooms:
        await device.hear(lambda frame, room=room: frame.get("conversation") == room)
    assert looks < 10


async def test_a_device_revoked_by_sql_is_closed(attach: Any, room: Room, sql: Psql) -> None:
    ann = await attach(room.first)
    scene.revoke(sql, room.first.device)
    assert await ann.ended() == CloseCode.REVOKED


@pytest.mark.slow
async def test_a_lost_notification_is_found_by_the_reconciler(
    engine: Engine, attach: Any, room: Room, sql: Psql
) -> None:
    """Message, membership and revocation, each written with triggers that tell nobody."""
    bob, cas = await attach(room.second), scene.new_seat(sql)
    guest = await attach(cas)
    hall = scene.new_room(sql)
    sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'lockstep hints' AND datname = current_database()"
    )  # until it listens again, nobody hears
    scene.insert(sql, room.id, "unheard")
    scene.join(sql, hall.id, cas.user)
    began = asyncio.get_running_loop().time()
    await bob.reaches(room.id, 3)
    assert (await guest.hear("conversation"))["conversation"] == hall.id
    assert asyncio.get_running_loop().time() - began < 5.5


async def test_a_conversation_that_cannot_be_read_holds_up_no_pass_and_comes_once_it_can(
    engine: Engine, attach: Any, room: Room, sql: Psql
) -> None:
    damaged = scene.new_room(sql, *room.seats)
    bob = await attach(room.second)
    await bob.reaches(damaged.id, 2)
    with sql.transaction():  # and nobody is told: the pass finds it
        sql.execute("SET LOCAL lockstep.writer = 'journal'")
        late = "INSERT INTO messaging_message (conversation_id, seq, position, body) VALUES (%s, 3, 3, 'late')"
        sql.execute(late, [damaged.id])
        sql.execute("UPDATE messaging_conversation SET last_seq = 3 WHERE id = %s", [damaged.id])
        scene.damage(sql, damaged.id)
    async with asyncio.timeout(scene.PATIENCE_S):
        await engine.hub.check([damaged.id, room.id])
    scene.insert(sql, room.id, "hello")
    await bob.reaches(room.id, 3)
    scene.damage(sql, damaged.id, created="2001-01-01")
    await engine.hub.check([damaged.id])
    await bob.reaches(damaged.id, 3)
    assert bob.bodies(damaged.id) == ["late"]


async def test_many_conversations_that_were_written_at_once_are_read_in_few_statements(
    engine: Engine, attach: Any, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an announcement to everybody is, and every pass while the bus is deaf."""
    rooms = [scene.new_room(sql, room.second) for _ in range(40)]
    ids = [one.id for one in rooms]
    bob = await attach(room.second)
    for one in ids:
        await bob.reaches(one, 1)
    await scene.eventually(lambda: all(engine.hub.topics[one].joined for one in ids))
    with sql.transaction():  # and nobody is told: the pass finds it
        sql.execute("SET LOCAL lockstep.writer = 'journal'")
        sql.execute(
            "INSERT INTO messaging_message (conversation_id, seq, position, body)"
            " SELECT unnest(%s::uuid[]), 2, 2, 'to all'",
            [ids],
        )
        sql.execute("UPDATE messaging_conversation SET last_seq = 2 WHERE id = ANY (%s)", [ids])
    statements, pages = [], engine.hub.feed.pages

    async def counted(pairs: Any, *, limit: int) -> Any:
        statements.append(pairs)
        return await pages(pairs, limit=limit)

    monkeypatch.setattr(engine.hub.feed, "pages", counted)
    await engine.hub.check(ids)
    assert len(statements) < 10
    for one in ids:
        await bob.reaches(one, 2)
        assert bob.bodies(one) == ["to all"]


# Resumption


async def test_a_device_that_was_away_gets_what_it_missed_once(
    attach: Any, room: Room, sql: Psql
) -> None:
    ann, bob = await attach(room.first), await attach(room.second)
    for n in range(30):
        await ann.write(room.id, f"m{n}")
        if n % 7 == 3:
            await bob.cut()
        elif n % 7 == 6:
            await attach(bob)
    await attach(bob)
    await bob.reaches(room.id, 32)
    assert bob.bodies(room.id) == [f"m{n}" for n in range(30)]


async def test_a_device_that_catches_up_gets_only_the_newest_state(attach: Any, room: Room) -> None:
    ann = await attach(room.first)
    sent = await ann.write(room.id, "one")
    for version in (1, 2, 3):
        await ann.ask(
            type="edit",
            message=sent["message"],
            base_version=version,
            client_id=f"e{version}",
            body=f"edit {version}",
        )
    await ann.cut()  # the hub forgets the conversation, so the database is asked
    await ann.cut()  # nobody is here, so there are no recent batches either
    bob = Device(room.second.token)
    bob.cursors[room.id] = 2
    await attach(bob)
    await bob.reaches(room.id, 6)
    assert bob.bodies(room.id) == ["edit 3"]


async def test_a_fresh_device_starts_at_its_stored_mark_and_its_own_cursor_goes_first(
    attach: Any, room: Room, sql: Psql
) -> None:
    for n in range(3):
        scene.insert(sql, room.id, f"m{n}")
    sql.execute(
        "INSERT INTO messaging_receipt (device_id, conversation_id, delivered) VALUES (%s, %s, 4)"
        " ON CONFLICT (device_id, conversation_id) DO UPDATE SET delivered = 4",
        [room.second.device, room.id],
    )
    fresh = await attach(room.second)
    await fresh.reaches(room.id, 5)
    assert fresh.bodies(room.id) == ["m2"]
    knowing = Device(room.second.token)
    knowing.cursors[room.id] = 3
    await attach(knowing)
    await knowing.reaches(room.id, 5)
    assert knowing.bodies(room.id) == ["m1", "m2"]


async def test_welcome_lists_only_what_the_device_lacks(attach: Any, room: Room, sql: Psql) -> None:
    other = scene.new_room(sql, *room.seats)
    device = Device(room.first.token)
    device.cursors = {room.id: 2, other.id: 1}
    await attach(device)
    assert device.welcome is not None
    listed = device.welcome["conversations"]
    assert [(c["conversation"], c["since"], c["last_seq"]) for c in listed] == [(other.id, 1, 2)]


@pytest.mark.parametrize("why", ["ahead", "epoch"])
async def test_a_cursor_of_another_database_starts_again(
    attach: Any, room: Room, sql: Psql, why: str
) -> None:
    scene.insert(sql, room.id, "m0")
    device = Device(room.first.token)
    device.cursors[room.id] = 99 if why == "ahead" else 2
    epoch = None if why == "ahead" else "01a1fc67-4d76-7175-bbac-488cc59361c0"
    await attach(device, epoch=epoch)
    await device.hear("reset")
    await device.reaches(room.id, 3)
    assert device.bodies(room.id) == ["m0"]


async def test_many_conversations_arrive_whole(attach: Any, room: Room, sql: Psql) -> None:
    """More than `welcome` lists at once: the rest comes as `conversation`."""
    sql.execute(
        """
        WITH made AS (INSERT INTO messaging_conversation (title)
                      SELECT 'room ' || n FROM generate_series(1, 250) n RETURNING id)
        INSERT INTO messaging_membership (conversation_id, user_id) SELECT id, %s FROM made
        """,
        [room.first.user],
    )
    device = await attach(room.first)
    assert len(device.welcome["conversations"]) == 200
    await scene.eventually(lambda: device.count("conversation") == 51)
    await scene.eventually(
        lambda: len(device.seen) == 251, what=lambda: (len(device.seen), len(device.cursors))
    )


# Holes and late hints


async def test_batches_out_of_order_doubled_or_lost_are_repaired_from_the_database(
    engine: Engine, attach: Any, room: Room, sql: Psql
) -> None:
    """The bus may do anything to a batch; here it drops, doubles and swaps those of a foreign writer."""
    bob = await attach(room.second)
    await bob.reaches(room.id, 2)
    hub = engine.hub
    unheard(sql, room, upto=12)
    whole = (await hub.feed.pages([(room.id, 2)], limit=100))[room.id, 2]
    parts = [whole.after(n).until(n + 1) for n in range(2, 12)]
    for n in (1, 1, 0, 5, 3, 0, 9):  # the others never come
        hub.apply(parts[n])
    await bob.reaches(room.id, 12)
    assert bob.bodies(room.id) == [f"m{n}" for n in range(3, 13)]


async def test_a_change_that_the_database_does_not_have_is_never_shown(
    engine: Engine, attach: Any, room: Room
) -> None:
    """Said by a bus that stood still while the database was restored: it waits for its predecessors, until they come."""
    ann = await attach(room.first)
    await ann.reaches(room.id, 2)
    topic = engine.hub.topics[room.id]
    phantom = Message(id=str(uuid4()), seq=5, position=5, body="of another life")
    engine.hub.apply(Batch(conversation=room.id, since=4, upto=5, messages=[phantom]))
    await engine.hub.catch_up(topic)
    await scene.eventually(lambda: not topic.repairing and not topic.reading)
    for body in "abc":
        await ann.write(room.id, body)
    await ann.reaches(room.id, 5)
    assert ann.bodies(room.id) == ["a", "b", "c"]


async def test_what_a_conversation_lacks_is_read_once_however_many_ask(
    engine: Engine, attach: Any, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each new session asks: read for each, the pages of a process that was behind kept it behind."""
    bob = await attach(room.second)
    unheard(sql, room, upto=1_002)
    hub, read = engine.hub, list[int]()
    topic, page = hub.topics[room.id], hub.feed.page

    async def counting(conversation: str, since: int) -> Batch | None:
        read.append(since)
        return await page(conversation, since)

    monkeypatch.setattr(hub.feed, "page", counting)
    asked = []
    for _ in range(20):
        asked.append(asyncio.create_task(hub.catch_up(topic)))
        await asyncio.sleep(0)
    await asyncio.gather(*asked)
    await bob.reaches(room.id, 1_002)
    assert bob.bodies(room.id) == scene.bodies(sql, room.id)
    # For each it would be a hundred. Bob falls behind meanwhile, and reads some of it for himself.
    assert len(read) <= 2 * (1_000 / PAGE + 1)


def unheard(sql: Psql, room: Room, *, upto: int) -> None:
    """Write changes 3 to `upto` without triggers: nobody is told."""
    with sql.transaction():
        sql.execute("SET LOCAL lockstep.writer = 'journal'")
        sql.execute(
            "INSERT INTO messaging_message (conversation_id, seq, position, body)"
            " SELECT %s, n, n, 'm' || n FROM generate_series(3, %s) n",
            [room.id, upto],
        )
        sql.execute(
            "UPDATE messaging_conversation SET last_seq = %s WHERE id = %s", [upto, room.id]
        )


async def test_topics_live_only_as_long_as_their_sessions(
    engine: Engine, attach: Any, room: Room
) -> None:
    ann, bob = await attach(room.first), await attach(room.second)
    await ann.write(room.id, "m1")
    await bob.reaches(room.id, 3)
    await ann.cut()
    assert room.id in engine.hub.topics
    await bob.cut()
    assert room.id not in engine.hub.topics


async def test_what_a_closed_hub_is_asked_to_read_ends_at_once(
    new_engine: None, engine: Engine, attach: Any, room: Room
) -> None:
    """A hole's timer may be running when it closes: nobody cancels what begins then."""
    await attach(room.first)
    await engine.hub.close()
    engine.hub.spawn(engine.hub.catch_up(Topic(room.id, 1)))
    engine.hub.spawn(engine.hub._read_for(engine.hub.people.links[0], room.id, 1))
    await scene.eventually(lambda: not engine.hub._tasks, within=2)


async def test_two_sessions_of_one_device_each_get_everything(attach: Any, room: Room) -> None:
    tabs = [await attach(Device(room.first.token)) for _ in range(2)]
    bob = await attach(room.second)
    await bob.write(room.id, "m1")
    for tab in tabs:
        await tab.reaches(room.id, 3)
        assert tab.bodies(room.id) == ["m1"]


async def test_a_session_of_a_process_without_a_lease_gets_nothing_until_it_holds_again(
    engine: Engine, attach: Any, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = await attach(room.second)
    await bob.reaches(room.id, 2)
    with monkeypatch.context() as lapsed:
        lapsed.setattr(type(engine.roster), "alive", property(lambda _: False))
        stored = await engine.journal.submit(room.first.device, frame(room, "m1"))
        await asyncio.sleep(0.05)  # time in which it must not arrive
        assert bob.bodies(room.id) == []
    await engine.hub.lease_renewed()
    engine.hub.tick()
    await bob.reaches(room.id, stored.seq)
    assert bob.bodies(room.id) == ["m1"]


async def test_a_reading_of_the_gauges_says_how_many_conversations_are_followed(
    engine: Engine, attach: Any, room: Room
) -> None:
    await attach(room.second)
    engine.gauges.read(late_s=0.0)
    assert REGISTRY.get_sample_value("lockstep_topics") == len(engine.hub.topics) == 1
