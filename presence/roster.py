"""The only door to who is here: this process's lease, and the sessions it holds.

A process registers as a node with a lease by database time and renews it; its sessions count only
while the lease lasts. Until the process knows its lease renewed it must send nothing to anyone
(`alive`), because revocation waits for exactly that. Hellos that wait in one turn share a statement.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, NamedTuple, TypeAlias

import psycopg
from django.contrib.auth import get_user_model
from psycopg.errors import LockNotAvailable

from presence import database

logger = logging.getLogger(__name__)

APPLICATION = "lockstep roster"
LEASE_S = 6.0  # G7: with one missed beat everyone else knows within 10 s that a process is gone
BEAT_S = 2.0
LOCK_TIMEOUT_MS = 500  # a device whose row is locked for longer is told to come back: the lease must not wait for it
STATEMENT_TIMEOUT_MS = 3_000  # half a lease
REVOKE_TIMEOUT_MS = 10_000  # somebody waits for the answer, and may ask again
STOP_S = 1.0  # for sessions that are just leaving
POLL_S = 0.02  # how often a revocation looks whether its sessions are gone

REGISTER = "INSERT INTO presence_node (name, lease) VALUES (%s, now() + make_interval(secs => %s)) RETURNING id::text"
BEAT = (
    "UPDATE presence_node SET lease = now() + make_interval(secs => %s) WHERE id = %s RETURNING id"
)
# One lease after it ran out nobody can still be using a node; its connections go with it.
REAP = """
WITH dead AS (SELECT id FROM presence_node WHERE lease < now() - make_interval(secs => %s) FOR UPDATE SKIP LOCKED),
     gone AS (DELETE FROM presence_connection WHERE node_id IN (SELECT id FROM dead))
SELECT id FROM dead
"""
REMOVE = "DELETE FROM presence_node WHERE id = ANY (%s)"
# FOR SHARE makes this wait for a revocation under way, and a revocation wait for this.
ARRIVE = """
WITH hello AS (SELECT * FROM unnest(%s::bytea[]) WITH ORDINALITY AS h (hash, n)),
     here AS (SELECT d.id, d.user_id, d.token_hash FROM presence_device d
               WHERE d.token_hash = ANY (%s::bytea[]) AND d.revoked IS NULL
                 AND EXISTS (SELECT FROM {users} u WHERE u.id = d.user_id AND u.is_active) FOR SHARE OF d),
     session AS MATERIALIZED (SELECT h.n, lockstep_uuid() AS id, here.id AS device, here.user_id
                                FROM hello h JOIN here ON here.token_hash = h.hash),
     stored AS (INSERT INTO presence_connection (id, device_id, node_id) SELECT id, device, %s::uuid FROM session)
SELECT n, device::text, user_id::text, id::text FROM session
"""
READMIT = """
INSERT INTO presence_connection (id, device_id, node_id)
SELECT s.id, s.device, %s FROM unnest(%s::uuid[], %s::uuid[]) AS s (id, device)
  JOIN presence_device d ON d.id = s.device ON CONFLICT (id) DO NOTHING
"""
# Whoever holds a device's row must not hold up the others: the time then stays that of an earlier session.
LEAVE = """
WITH gone AS (DELETE FROM presence_connection WHERE id = ANY (%s::uuid[]) RETURNING device_id),
     free AS (SELECT d.id FROM presence_device d WHERE d.id IN (SELECT device_id FROM gone) FOR NO KEY UPDATE SKIP LOCKED)
UPDATE presence_device SET last_seen = now() WHERE id IN (SELECT id FROM free)
"""
# What a broken statement may have left behind: this node lives on, so no lease would ever clear it.
SWEEP = "DELETE FROM presence_connection WHERE node_id = %s::uuid AND NOT id = ANY (%s::uuid[])"
# The server's end of a connection that we gave up: frozen, it would begin sessions when it wakes up.
DISOWN = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE pid = %s AND application_name = %s AND usename = current_user
"""
EMPTY = "DELETE FROM presence_connection WHERE node_id = %s::uuid"
REVOKE = "UPDATE presence_device SET revoked = now() WHERE id = %s AND revoked IS NULL"
REVOKED = """
SELECT d.id::text FROM presence_device d
 WHERE d.id = ANY (%s::uuid[])
   AND (d.revoked IS NOT NULL OR NOT EXISTS (SELECT FROM {users} u WHERE u.id = d.user_id AND u.is_active))
"""
HELD = """
SELECT 1 FROM presence_connection c JOIN presence_node n ON n.id = c.node_id
 WHERE c.device_id = %s AND n.lease > now() LIMIT 1
"""


class Arrival(NamedTuple):
    """A session that began: whose it is, and its id."""

    device: str
    user: str
    session: str


Hello: TypeAlias = tuple[bytes, asyncio.Future[Arrival | None]]  # the token's hash, the answer


class Roster:
    """This process's node and its sessions.

    When the lease is renewed after it lapsed, `on_renewed` finds out what was missed; then it counts
    as held, and `on_alive` is called.
    """

    def __init__(self) -> None:
        self.node: str | None = None
        self.sessions: dict[str, str] = {}  # session -> device
        self._lease_until = 0.0
        self._lapsed = False
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._backend: int | None = None  # the server's process behind it
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._hellos: list[Hello] = []
        self._leaving: list[tuple[str, asyncio.Future[None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._beating: asyncio.Task[None] | None = None
        self._sweep_until = 0.0
        self._stopped = False
        self.on_renewed: Callable[[], Awaitable[None]] | None = None
        self.on_alive: Callable[[], None] | None = None
        self._reap_after = float("inf")

    @property
    def alive(self) -> bool:
        """Whether this process's lease certainly lasts, and what it missed while it did not is known."""
        return monotonic() < self._lease_until and not self._lapsed

    async def start(self) -> None:
        """Register this process and begin to renew its lease. Raises psycopg.Error without a database."""
        await self._register()
        self._beating = asyncio.get_running_loop().create_task(self._beat())

    async def arrive(self, token: str) -> Arrival | None:
        """Begin a session of the token's device; None if the token is unknown or revoked."""
        future: asyncio.Future[Arrival | None] = asyncio.get_running_loop().create_future()
        if not self._hellos:
            asyncio.get_running_loop().call_soon(lambda: self._spawn(self._admit()))
        self._hellos.append((hashlib.sha256(token.encode()).digest(), future))
        try:
            return await future
        except asyncio.CancelledError:
            self._disown(future)
            raise

    def _disown(self, future: asyncio.Future[Arrival | None]) -> None:
        """The caller was cancelled in the very turn in which its session began: nobody else will end it."""
        if future.done() and not future.cancelled() and future.exception() is None:
            arrival = future.result()
            if arrival is not None:
                self._spawn(self.leave(arrival.session))

    async def leave(self, session: str) -> None:
        """End a session; returns when the database knows, or could not be reached."""
        if self.sessions.pop(session, None) is None:
            return
        self._changed.set()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._leaving:
            asyncio.get_running_loop().call_soon(lambda: self._spawn(self._dismiss()))
        self._leaving.append((session, future))
        await future

    async def emptied(self) -> None:
        """Wait until no session is left here."""
        while self.sessions:
            self._changed.clear()
            await self._changed.wait()

    async def revoked(self, devices: list[str]) -> set[str]:
        """Which of the devices are revoked, or of a user who is not active."""
        return {row[0] for row in await self._execute(with_users(REVOKED), (devices,))}

    async def stop(self) -> None:
        """Give the lease back: nobody needs to wait for it any more."""
        await self._end_tasks()
        if self.node is not None:
            try:
                await self._execute(LEAVE, (list(self.sessions),))
                await self._execute(EMPTY, (self.node,))
                await self._execute(REMOVE, ([self.node],))
            except psycopg.Error as error:
                logger.warning("the node's lease could not be given back, it runs out: %s", error)
        self._lease_until = 0.0
        self._stopped = True
        if self._connection is not None:
            await self._connection.close()

    async def _end_tasks(self) -> None:
        """Stop the beat; who is just leaving may finish."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=STOP_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _register(self) -> None:
        asked = monotonic()
        name = f"{socket.gethostname()}:{os.getpid()}"[:64]
        rows = await self._execute(REGISTER, (name, LEASE_S))
        node = rows[0][0]
        if self.sessions:
            await self._execute(READMIT, (node, list(self.sessions), list(self.sessions.values())))
        self.node = node  # only now: a node without our sessions is none of ours
        self._lease_until = asked + LEASE_S
        self._reap_after = asked + LEASE_S

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self._lapsed = not self.alive
            try:
                await self._renew()
                if self._lapsed:
                    await self._revive()
            except psycopg.Error as error:
                self._sweep_later()
                self._reap_after = float("inf")
                logger.warning("the lease could not be renewed: %s", error)
            except Exception:  # without beats the process would be mute for ever
                logger.exception("the lease was not renewed")

    async def _revive(self) -> None:
        if self.on_renewed is not None:
            await self.on_renewed()
        self._lapsed = False
        if self.on_alive is not None:
            self.on_alive()

    async def _renew(self) -> None:
        asked = monotonic()
        if not await self._execute(BEAT, (LEASE_S, self.node)):
            self._lapsed = True  # whatever our clock says: others took us for dead
            await self._register()
        if monotonic() >= self._lease_until:
            self._lapsed = True  # while the answer was on its way
        self._lease_until = asked + LEASE_S
        if asked < self._sweep_until:
            async with self._lock:  # a hello counts as soon as it has the lock no more
                await self._ask(SWEEP, (self.node, list(self.sessions)))
        if self._reap_after == float("inf"):
            self._reap_after = asked + LEASE_S
        if asked > self._reap_after:
            dead = await self._execute(REAP, (LEASE_S,))
            if dead:
                await self._execute(REMOVE, ([row[0] for row in dead],))

    async def _admit(self) -> None:
        hellos, self._hellos = self._hellos, []
        if not await self._admitted(hellos, alone=len(hellos) == 1):
            for hello in hellos:
                await self._admitted([hello], alone=True)

    async def _admitted(self, hellos: list[Hello], *, alone: bool) -> bool:
        """Answer these hellos; False if a locked device held them up, so that each is to be tried `alone`."""
        hashes = [digest for digest, _ in hellos]
        try:
            rows = await self._execute(with_users(ARRIVE), (hashes, hashes, self.node))
        except Exception as error:
            if isinstance(error, LockNotAvailable) and not alone:
                return False
            self._sweep_later()
            for _, future in hellos:
                if not future.done():
                    future.set_exception(error)
            return True
        self._welcome(hellos, rows)
        return True

    def _welcome(self, hellos: list[Hello], rows: list[tuple[Any, ...]]) -> None:
        arrivals = {row[0]: Arrival(row[1], row[2], row[3]) for row in rows}
        for n, (_, future) in enumerate(hellos, start=1):
            arrival = arrivals.get(n)
            if arrival is not None:
                self.sessions[arrival.session] = arrival.device
            if not future.done():
                future.set_result(arrival)
            elif arrival is not None:
                self._spawn(self.leave(arrival.session))

    async def _dismiss(self) -> None:
        leaving, self._leaving = self._leaving, []
        try:
            await self._execute(LEAVE, ([session for session, _ in leaving],))
        except psycopg.Error as error:
            self._sweep_later()
            logger.warning("%d sessions are signed off with a later beat: %s", len(leaving), error)
        finally:
            for _, future in leaving:
                if not future.done():
                    future.set_result(None)

    def _sweep_later(self) -> None:
        """A statement broke: what it may still do, it does within its own time-out."""
        self._sweep_until = monotonic() + STATEMENT_TIMEOUT_MS / 1000 + 2 * BEAT_S

    async def _execute(
        self, statement: str, parameters: tuple[object, ...]
    ) -> list[tuple[Any, ...]]:
        async with self._lock:
            return await self._ask(statement, parameters)

    async def _ask(self, statement: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        if self._stopped:
            raise psycopg.OperationalError("this process's roster is stopped")
        if self._connection is None or self._connection.closed:
            self._connection = await self._connect()
        with database.deadline(self._connection, STATEMENT_TIMEOUT_MS):
            return await _run(self._connection, statement, parameters)

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        made = await database.connect(
            APPLICATION,
            lockstep__writer="journal",
            lock_timeout=LOCK_TIMEOUT_MS,
            statement_timeout=STATEMENT_TIMEOUT_MS,
        )
        try:
            if self._backend is not None:
                with database.deadline(made, STATEMENT_TIMEOUT_MS):
                    await _run(made, DISOWN, (self._backend, APPLICATION))
        except BaseException:
            await made.close()
            raise
        self._backend = made.info.backend_pid
        return made

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def with_users(statement: str) -> str:
    """The statement with the name of the users' table in the place of `{users}`."""
    return statement.format(users=get_user_model()._meta.db_table)


async def revoke(device: str) -> None:
    """Revoke a device: refused from this commit on; returns when no live process holds a session of it.

    Raises psycopg.Error when the database is away, or the device's row is locked for long.
    """
    connection = await database.connect("lockstep revoke", statement_timeout=REVOKE_TIMEOUT_MS)

    async def ask(statement: str) -> list[tuple[Any, ...]]:
        with database.deadline(connection, REVOKE_TIMEOUT_MS):
            return await _run(connection, statement, (device,))

    async with connection:
        await ask(REVOKE)
        while await ask(HELD):  # noqa: ASYNC110 - it waits for other processes
            await asyncio.sleep(POLL_S)


async def _run(
    connection: psycopg.AsyncConnection[Any], statement: str, parameters: tuple[object, ...]
) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(statement.encode(), parameters)
    return await cursor.fetchall() if cursor.description else []
