"""The only door to who is here: this process's lease, and the sessions it holds.

A process registers as a node with a lease by database time and renews it (`lease`); its sessions count
only while the lease lasts. Until the process knows its lease renewed it must send nothing to anyone
(`alive`), because revocation waits for exactly that. What waits in one turn shares a statement.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import psycopg
from django.contrib.auth import get_user_model
from psycopg.errors import LockNotAvailable

from presence import conf, database, signals, statements, statuses
from presence.lease import Lease
from presence.line import Line, run
from presence.liveness import Present
from presence.statuses import Saying
from presence.turns import Turn

logger = logging.getLogger(__name__)

APPLICATION = "lockstep roster"
LOCK_TIMEOUT_MS = 500  # a device whose row is locked for longer is told to come back: the lease must not wait for it
STATEMENT_TIMEOUT_MS = 3_000  # half a lease, unless the operator wants a shorter one
REVOKE_TIMEOUT_MS = 10_000  # somebody waits for the answer, and may ask again
STOP_S = 1.0  # for sessions that are just leaving
LOT = 200  # hellos in one statement: a locked device holds up no more than these for half a second
POLL_S = 0.02  # how often a revocation looks whether its sessions are gone


class Arrival(NamedTuple):
    """A session that began: whose it is, and its id."""

    device: str
    user: str
    session: str


Hello: TypeAlias = tuple[bytes, asyncio.Future[Arrival | None]]  # the token's hash, the answer


@dataclass(slots=True)
class Held:
    """A session; `state` is None while the database's is not known, `asked` the last word on it."""

    device: str
    user: str
    state: Present | None = "online"
    asked: Present = "online"


class Roster(Lease):
    """This process's node and its sessions."""

    def __init__(self) -> None:
        line = Line(
            APPLICATION,
            timeout_ms=STATEMENT_TIMEOUT_MS,
            lockstep__writer="journal",
            lock_timeout=LOCK_TIMEOUT_MS,
        )
        given = conf.current()
        super().__init__(
            line,
            lease_s=given.lease_s,
            beat_s=given.beat_s,
            sweep_s=STATEMENT_TIMEOUT_MS / 1000,
        )
        self.sessions: dict[str, Held] = {}
        self._lost: set[str] = set()  # sessions that others took for dead: they end
        self._changed = asyncio.Event()
        self._hellos: list[Hello] = []
        self._leaving = Turn(self._dismiss)
        self._states = Turn(self._set_states)
        self._sayings = Turn(self._describe)
        self._tasks: set[asyncio.Task[None]] = set()

    async def arrive(self, token: str) -> Arrival | None:
        """Begin a session of the token's device; None if the token is unknown or revoked.

        Raises psycopg.Error: then it may be asked again.
        """
        future: asyncio.Future[Arrival | None] = asyncio.get_running_loop().create_future()
        if not self._hellos:
            asyncio.get_running_loop().call_soon(lambda: self._spawn(self._admit()))
        self._hellos.append((hashlib.sha256(token.encode()).digest(), future))
        try:
            arrival = await future
        except asyncio.CancelledError:
            self._disown(future)
            raise
        if arrival is not None and arrival.session in self._lost:
            await self.leave(arrival.session)  # it stood still since: nobody else knows of this one
            raise psycopg.OperationalError("this process stood still")
        return arrival

    def _disown(self, future: asyncio.Future[Arrival | None]) -> None:
        """The caller was cancelled in the very turn in which its session began: nobody else will end it."""
        if future.done() and not future.cancelled() and future.exception() is None:
            arrival = future.result()
            if arrival is not None:
                self._spawn(self.leave(arrival.session))

    async def leave(self, session: str) -> None:
        """End a session; returns when the database knows, or could not be reached."""
        held = self.sessions.pop(session, None)
        if held is None:
            return
        self._lost.discard(session)
        self._changed.set()
        with contextlib.suppress(psycopg.Error):  # said below; the row goes with the node
            await self._leaving.take((session, held.user))

    async def set_state(self, session: str, state: Present) -> None:
        """Say how a session is here; a repeat costs nothing. Raises psycopg.Error: then ask again."""
        held = self.sessions.get(session)
        if held is not None and held.state != state:
            held.state, held.asked = None, state  # until it is stored: who says the same waits, too
            await self._states.take((session, state))

    async def describe(
        self,
        user: str,
        *,
        text: str | None = None,
        until: int | None = None,
        invisible: bool | None = None,
    ) -> None:
        """Say what a user wants to be shown of them (see `statuses`).

        Raises psycopg.Error; of these psycopg.DataError for what can't be stored.
        """
        if (text, until, invisible) != (None, None, None):
            await self._sayings.take(Saying(user, text, until, invisible))

    async def missing(self) -> set[str]:
        """The sessions here that somebody asked to end, or whose rows a foreign hand deleted.

        Raises psycopg.Error.
        """
        node, held = self.node, list(self.sessions)
        rows = await self._line.ask(statements.MISSING, (held, node))
        if node != self.node:
            return set()
        return {row[0] for row in rows} & self.sessions.keys()

    async def emptied(self) -> None:
        """Wait until no session is left here."""
        while self.sessions:
            self._changed.clear()
            await self._changed.wait()

    async def revoked(self, devices: list[str]) -> set[str]:
        """Which of the devices are revoked, or of a user who is not active."""
        return {row[0] for row in await self._line.ask(with_users(statements.REVOKED), (devices,))}

    async def stop(self) -> None:
        """Give the lease back: nobody needs to wait for it any more."""
        await self._stop_beating()
        await self._end_tasks()
        if self.node is not None:
            try:
                async with self._line.lock:
                    await self._bury(statements.GIVE_UP, self.node)
            except psycopg.Error as error:
                logger.warning("the node's lease could not be given back, it runs out: %s", error)
        self._lease_until = 0.0
        await self._line.close()

    async def _end_tasks(self) -> None:
        """Who is just leaving may finish."""
        for turn in (self._leaving, self._states, self._sayings):
            await turn.end(STOP_S)
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=STOP_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    # What the lease asks for

    async def _readmit(self, node: str) -> None:
        held = {key: one for key, one in self.sessions.items() if key not in self._lost}
        if not held:
            return
        devices = [one.device for one in held.values()]
        states = [one.state or "online" for one in held.values()]
        await self._line.ask_now(statements.READMIT, (node, list(held), devices, states))
        signals.announce_presence({one.user for one in held.values()})

    def _stood_still(self) -> None:
        self._lost = set(self.sessions)

    async def _sweep(self) -> None:
        rows = await self._line.ask_now(statements.SWEEP, (self.node, list(self.sessions)))
        signals.announce_presence({row[0] for row in rows})  # nobody else knows that they went

    # What waits in one turn

    async def _admit(self) -> None:
        async with self._line.lock:  # whoever comes until it is ours shares the statement
            hellos, self._hellos = self._hellos[:LOT], self._hellos[LOT:]
            admitted = not hellos or await self._admitted(hellos, alone=len(hellos) == 1)
        if self._hellos:
            self._spawn(self._admit())
        if not admitted:
            for hello in hellos:
                async with self._line.lock:
                    await self._admitted([hello], alone=True)

    async def _admitted(self, hellos: list[Hello], *, alone: bool) -> bool:
        """Answer these hellos; False if a locked device held them up, so that each is to be tried `alone`.

        The line's lock is held: the node is ours, and whoever is stored is held, before anybody else asks.
        """
        hashes = [digest for digest, _ in hellos]
        try:
            named = (hashes, hashes, self.node)
            rows = await self._line.ask_now(with_users(statements.ARRIVE), named)
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
                self.sessions[arrival.session] = Held(arrival.device, arrival.user)
            if not future.done():
                future.set_result(arrival)
            elif arrival is not None:
                self._spawn(self.leave(arrival.session))
        signals.announce_presence({arrival.user for arrival in arrivals.values()})

    async def _dismiss(self, leaving: list[tuple[str, str]]) -> None:
        try:
            await self._line.ask(statements.LEAVE, ([session for session, _ in leaving],))
        except psycopg.Error as error:
            self._sweep_later()
            logger.warning("%d sessions are signed off with a later beat: %s", len(leaving), error)
            return
        signals.announce_presence({user for _, user in leaving})

    async def _set_states(self, asked: list[tuple[str, Present]]) -> None:
        states = dict(asked)  # the last word counts
        await self._line.ask(statements.SET_STATES, (list(states), list(states.values())))
        users = set()
        for session, state in states.items():
            if (held := self.sessions.get(session)) is not None:
                held.state = state if held.asked == state else None  # another one waits already
                users.add(held.user)
        signals.announce_presence(users)

    async def _describe(self, sayings: list[Saying]) -> None:
        said = statuses.columns(sayings)
        await self._line.ask(statements.MAKE_STATUSES, said[:1])
        await self._line.ask(statements.DESCRIBE, said)
        signals.announce_presence(set(said[0]))

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
            return await run(connection, statement, (device,))

    async with connection:
        await ask(statements.REVOKE)
        while await ask(statements.HELD):  # noqa: ASYNC110 - it waits for other processes
            await asyncio.sleep(POLL_S)
