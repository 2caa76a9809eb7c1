"""Presence in trouble: lost hints, lost services, storms; and boards that break a promise, each convicted."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from messaging.engine import Engine
from messaging.hub import presence, reconciler
from messaging.hub.presence import PresenceBoard
from messaging.hub.waiting import Due
from presence import liveness
from presence.tokens import new_token
from tests import scene
from tests.frozen import backends, frozen
from tests.outage import without_valkey
from tests.peer import Peer
from tests.plugin import GIVEN
from tests.scene import Psql, Room
from tests.sight import entries, hears, looked, say, shows

# An engine that has run for a while makes its next pass at any moment: it would show what a broken board does not.
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("new_engine")]

DEBOUNCE_S = 2.0
STORM, CREW = 2_000, 49  # sessions, of so many users
SOON_S = 1.0
FROZEN_S = 1.5  # less than a statement's time-out: the pass goes on where it stood


def lose(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    """Whatever this would tell is lost."""
    monkeypatch.setattr(owner, name, lambda *_: None)


def counted(statement: str) -> float:
    """How many statements of a kind this process has made."""
    labels = {"statement": statement}
    return REGISTRY.get_sample_value("lockstep_statement_seconds_count", labels) or 0.0


@contextlib.contextmanager
def unreachable(sql: Psql) -> Iterator[None]:
    """The database has lost this server's connections and takes no new ones."""
    name = scene.one(sql, "SELECT current_database()")

    def take_connections(*, yes: bool) -> None:
        with scene.connect(dbname="postgres") as elsewhere:
            elsewhere.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {yes}'.encode())

    try:
        take_connections(yes=False)
        sql.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'lockstep%'"
        )
        yield
    finally:
        take_connections(yes=True)


# Storms


@pytest.mark.slow
async def test_a_storm_of_two_thousand_sessions_is_some_dozens_of_statements_and_frames(
    engine: Engine, attach: Any, sql: Psql
) -> None:
    ann = scene.new_seat(sql)
    crew = [scene.new_user(sql) for _ in range(CREW)]
    tokens = [new_token() for _ in range(STORM)]
    sql.execute(
        "INSERT INTO presence_device (user_id, installation, token_hash)"
        " SELECT u, gen_random_uuid(), h FROM unnest(%s::uuid[], %s::bytea[]) AS d (u, h)",
        [[crew[n % CREW] for n in range(STORM)], [digest for _, digest in tokens]],
    )
    room = scene.new_room(sql, ann)
    for user in crew:
        scene.join(sql, room.id, user)
    watcher = await attach(ann)
    await looked(engine)
    before, place, began = counted("presence"), len(watcher.heard), time.monotonic()
    arriving = []
    for start in range(0, STORM, 50):  # as the accept queues of many sockets let them in
        some = tokens[start : start + 50]
        arriving.append(asyncio.gather(*(engine.roster.arrive(token) for token, _ in some)))
        await asyncio.sleep(0.025)
    arrivals = [one for some in await asyncio.gather(*arriving) for one in some if one]
    await looked(engine)
    took = time.monotonic() - began
    frames = sum(frame["type"] == "presence" for frame in watcher.heard[place:])
    print(
        f"\n{STORM} sessions in {took:.1f} s: {counted('presence') - before:.0f} looks, {frames} frames"
    )
    assert all(entries(watcher, user)[-1]["state"] == "online" for user in crew)
    assert counted("presence") - before <= took / 0.02 + 10
    assert counted("presence") - before < STORM / 10
    assert frames <= CREW
    place = len(watcher.heard)
    await asyncio.gather(*(engine.roster.leave(one.session) for one in arrivals))
    for user in crew:
        await shows(watcher, user, state="offline")
    frames = sum(frame["type"] == "presence" for frame in watcher.heard[place:])
    assert frames < 10


# Services away


async def test_a_look_that_fails_by_itself_is_made_again(
    engine: Engine, attach: Any, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    await attach(room.second)
    await looked(engine)
    reader, failures = engine.hub.presence._reader, [RuntimeError("an error of our own")]
    ask = reader.who_is_here

    async def failing(users: Any) -> Any:
        if failures:
            raise failures.pop()
        return await ask(users)

    monkeypatch.setattr(reader, "who_is_here", failing)
    ann = await attach(room.first)
    await shows(ann, room.second.user, state="online")
    await shows(ann, room.first.user, state="online")
    assert not failures


@pytest.mark.slow
async def test_presence_stands_still_and_says_so_while_the_database_is_away(
    engine: Engine, attach: Any, room: Room, sql: Psql
) -> None:
    ann, bob = await attach(room.first), await attach(room.second)
    await shows(ann, room.second.user, state="online")
    place = len(ann.heard)
    with unreachable(sql):
        stale = await ann.hear(lambda f: f["type"] == "presence" and f.get("stale"), since=place)
        assert stale.get("users", []) == []
        await bob.say({"type": "presence.watch", "users": [room.first.user], "ref": "w"})
        refusal = await bob.hear(lambda f: f.get("ref") == "w")
        assert refusal["code"] == "database_unavailable"
        sql.execute(
            "INSERT INTO presence_status (user_id, text) VALUES (%s, 'meanwhile')",
            [room.second.user],
        )
    await shows(ann, room.second.user, since=place, text="meanwhile")
    await scene.eventually(lambda: not engine.hub.presence.stale)
    told = [frame for frame in ann.heard[place:] if frame["type"] == "presence"]
    assert not told[-1].get("stale", False)
    assert (ann.closed, bob.closed) == (None, None)
    await say(bob, type="presence.watch", users=[room.first.user])


@pytest.mark.slow
async def test_a_pass_that_waited_for_the_database_is_no_reason_to_rest(
    engine: Engine, attach: Any, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It rested for twenty times as long as an outage, and what was shown stood for minutes if a hint was lost."""
    ann, board = await attach(room.first), engine.hub.presence
    await attach(room.second)
    await shows(ann, room.second.user, state="online")
    monkeypatch.setattr(reconciler, "PASS_S", 0.5)
    with frozen(*backends(sql, "lockstep presence")):
        engine.hub.compare_all()
        await scene.eventually(lambda: board._pass is not None)
        await asyncio.sleep(FROZEN_S)
    await scene.eventually(lambda: board._pass is None)
    lose(monkeypatch, board, "hint")
    sql.execute(
        "INSERT INTO presence_status (user_id, text) VALUES (%s, 'unheard')", [room.second.user]
    )
    async with asyncio.timeout(2 * FROZEN_S):
        await shows(ann, room.second.user, text="unheard")


@pytest.mark.long
@pytest.mark.skipif(bool(GIVEN["REDIS_URL"]), reason="it kills the server: only one of our own")
async def test_without_the_bus_presence_of_other_processes_comes_from_passes(
    peer: Peer, engine: Engine, attach: Any, room: Room, services_directory: Path
) -> None:
    ann = await attach(room.first)
    await hears(engine)
    with without_valkey(services_directory):
        await scene.eventually(lambda: engine.hub.bus.deaf)
        took = []
        session = await peer.do("arrive", token=room.second.token)
        await shows(ann, room.second.user, state="online")
        for n in range(10):
            state, place, began = "online" if n % 2 else "away", len(ann.heard), time.monotonic()
            await peer.do("state", session=session, state=state)
            await shows(ann, room.second.user, since=place, state=state)
            took.append(time.monotonic() - began)
        await peer.do("leave", session=session)
    print(f"\nwithout the bus: median {sorted(took)[5] * 1e3:.0f} ms, max {max(took) * 1e3:.0f} ms")
    assert sorted(took)[5] < SOON_S


# Promises, and boards that break them


async def nobody(*_: object) -> set[str]:
    return set()


async def absence_is_shown_after_the_debounce(
    engine: Engine, attach: Any, room: Room, sql: Psql
) -> None:
    ann, bob = await attach(room.first), await attach(room.second)
    await shows(ann, room.second.user, state="online")
    await looked(engine)
    await bob.cut()
    await shows(ann, room.second.user, state="offline", within=DEBOUNCE_S + SOON_S)


async def a_lost_hint_of_leaving_shows_nobody_to_a_former_member(
    engine: Engine, attach: Any, room: Room, sql: Psql
) -> None:
    ann, bob = await attach(room.first), await attach(room.second)
    await shows(ann, room.second.user, state="online")
    await looked(engine)
    with pytest.MonkeyPatch.context() as patch:
        lose(patch, PresenceBoard, "changed")
        scene.leave(sql, room.id, room.second.user)
        await bob.hear("left")
        await say(bob, type="presence.set", state="away")
        await shows(ann, room.second.user, state="offline", within=SOON_S)
    assert not any(entry["state"] == "away" for entry in entries(ann, room.second.user))


async def whoever_is_invisible_is_offline(
    engine: Engine, attach: Any, room: Room, sql: Psql
) -> None:
    ann, bob = await attach(room.first), await attach(room.second)
    await shows(ann, room.second.user, state="online")
    await say(bob, type="presence.set", invisible=True, text="hidden")
    await shows(ann, room.second.user, state="offline", within=SOON_S)
    assert not any("text" in entry for entry in entries(ann, room.second.user))


async def a_change_is_shown_at_once(engine: Engine, attach: Any, room: Room, sql: Psql) -> None:
    ann, bob = await attach(room.first), await attach(room.second)
    await shows(ann, room.second.user, state="online")
    await looked(engine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.hub.presence, "check", nobody)  # a pass would show it, too
        await scene.eventually(lambda: engine.hub.presence._pass is None)
        await say(bob, type="presence.set", state="away")
        await shows(ann, room.second.user, state="away", within=SOON_S)


MUTANTS: list[tuple[Callable[..., Awaitable[None]], Any, str, Any]] = [
    (absence_is_shown_after_the_debounce, Due, "note", lambda *_: None),
    (a_lost_hint_of_leaving_shows_nobody_to_a_former_member, PresenceBoard, "_outdated", nobody),
    (whoever_is_invisible_is_offline, presence, "seen_by_others", liveness.seen_by_self),
    (a_change_is_shown_at_once, PresenceBoard, "hint", lambda *_: None),
]
PROMISES = [promise for promise, *_ in MUTANTS]


@pytest.mark.slow
@pytest.mark.parametrize("promise", PROMISES, ids=lambda it: it.__name__)
async def test_promise_is_kept(
    engine: Engine, attach: Any, room: Room, sql: Psql, promise: Callable[..., Awaitable[None]]
) -> None:
    await promise(engine, attach, room, sql)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("promise", "owner", "name", "broken"), MUTANTS, ids=lambda it: getattr(it, "__name__", str(it))
)
async def test_board_that_breaks_a_promise_is_convicted(
    engine: Engine,
    attach: Any,
    room: Room,
    sql: Psql,
    monkeypatch: pytest.MonkeyPatch,
    promise: Callable[..., Awaitable[None]],
    owner: Any,
    name: str,
    broken: Any,
) -> None:
    """A check that can't fail proves nothing."""
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(AssertionError):
        await promise(engine, attach, room, sql)
