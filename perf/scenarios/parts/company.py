"""What goes on in a database beside a load: who pages back, who comes and goes, who holds a row, and who looks on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from perf.history.testimony import clock
from perf.load.fleet import Fleet
from perf.load.rest import NoAnswer, Rest
from perf.measure.latency import Latency
from perf.rig.accounts import Account
from perf.rig.database import Connection, connected

PAGE = 100  # messages asked for
AWAY_S = 0.1  # between leaving and coming back
LOOK_S = 0.1  # how often connections and locks are looked at
FOR_NOW = {429, 503}  # refusals that may be repeated

BACKENDS = """
SELECT coalesce(nullif(application_name, ''), 'pool'), count(*), count(*) FILTER (WHERE wait_event_type = 'Lock')
  FROM pg_stat_activity
 WHERE datname = current_database() AND backend_type = 'client backend' AND application_name <> 'lockstep perf'
 GROUP BY 1
"""
HOLD = "SELECT last_seq FROM messaging_conversation WHERE id = %s FOR NO KEY UPDATE"

Beside: TypeAlias = Callable[[asyncio.Event], Awaitable[None]]
"""Goes on until it is told to stop."""


@asynccontextmanager
async def going_on(work: Sequence[Beside]) -> AsyncIterator[None]:
    """Have all this go on for the time inside; each ends what it has begun. Raises what any of them raises."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for one in work:
            tasks.create_task(_run(one, stop))
        try:
            yield
        finally:
            stop.set()


async def _run(work: Beside, stop: asyncio.Event) -> None:
    await work(stop)


async def _rest(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but not longer than until the stop."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass


@dataclass(kw_only=True)
class Readers:
    """People who page back over REST, `at_once` at a time, from the newest message to the first and round again."""

    rest: Rest
    accounts: Sequence[Account]
    at_once: int
    latency: Latency = field(default_factory=Latency)
    refused: int = 0
    errors: list[str] = field(default_factory=list)

    async def run(self, stop: asyncio.Event) -> None:
        """Read until the stop."""
        await asyncio.gather(
            *(
                self._read(self.accounts[number % len(self.accounts)], stop)
                for number in range(self.at_once)
            )
        )

    async def _read(self, account: Account, stop: asyncio.Event) -> None:
        path = f"/api/conversations/{account.conversations[0]}/messages?limit={PAGE}"
        before: object = None
        while not stop.is_set():
            begun = clock()
            try:
                asked = path if before is None else f"{path}&before={before}"
                answer = await self.rest.ask("GET", asked, token=account.token)
                found = answer.json()
            except NoAnswer as error:
                self.errors.append(str(error))
                return
            self.latency.record(clock() - begun)
            before = found.get("before")
            if answer.status in FOR_NOW and found.get("code"):
                self.refused += 1
                await _rest(stop, float(found.get("retry_after") or 100) / 1000)
            elif answer.status != 200:
                self.errors.append(f"GET {asked}: {answer.status} {answer.body[:200]!r}")


@dataclass(kw_only=True)
class Returners:
    """Devices that come and go, one after the other; each has missed something when it comes back."""

    fleet: Fleet
    returns: int = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Come and go until the stop; then all are here."""
        while not stop.is_set():
            for device in self.fleet.devices:
                if stop.is_set():
                    break
                device.leave()
                await _rest(stop, AWAY_S)
                self.returns += await self.fleet.open(device)


@dataclass(kw_only=True)
class Holder:
    """A foreign transaction that holds the row of a conversation, so that nobody can number a message there."""

    url: str
    conversation: str
    seconds: float
    held_s: float = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Hold it once, for so long or until the stop. Raises psycopg.Error."""
        async with connected(self.url) as connection, connection.transaction():
            await connection.execute(HOLD, [self.conversation])
            begun = clock()
            await _rest(stop, self.seconds)
            self.held_s = clock() - begun


@dataclass(kw_only=True)
class Onlooker:
    """Connections to the database by whose they are, the most of each at any moment, and sessions that waited for a lock."""

    connection: Connection
    backends: dict[str, int] = field(default_factory=dict)
    most: int = 0
    lock_waits: int = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Look until the stop. Raises psycopg.Error."""
        while not stop.is_set():
            rows = await (await self.connection.execute(BACKENDS)).fetchall()
            for who, count, _ in rows:
                self.backends[who] = max(count, self.backends.get(who, 0))
            self.most = max(self.most, sum(row[1] for row in rows))
            self.lock_waits = max(self.lock_waits, sum(row[2] for row in rows))
            await _rest(stop, LOOK_S)
