"""A server when everything is closed: what must be exactly as before, and what may only not grow.

The first is counted from outside (processes, PostgreSQL, Valkey), the second by the server itself
after it has tidied up (`perf.rig.inspection`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psutil
from redis.asyncio import Redis

from perf.history.testimony import clock
from perf.measure.statistics import Signal
from perf.rig.database import Connection
from perf.rig.environment import RigError
from perf.rig.inspection import PATH
from perf.rig.server import Server

QUIET_S = 15.0  # for everything to be gone: a server says goodbye and signs off within 3 s
LOOK_S = 0.05
STILL_S = 0.5
ANSWER_S = 30.0
CONNECTIONS = "SELECT count(*) FROM presence_connection"
BACKENDS = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND backend_type = 'client backend' AND application_name <> 'lockstep perf'
"""
EXACT = ("connection rows", "sockets", "descriptors", "threads", "groups", "backends", "tasks")
"""What must be back at its first value, each time."""


class Inside(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says of itself."""

    blocks: int
    objects: int
    tasks: int
    in_use: int | None
    types: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One quiet moment. `exact` has the names of EXACT; bytes otherwise."""

    exact: Mapping[str, int]
    inside: Inside
    uss: int
    rss: int


@dataclass(kw_only=True)
class Watch:
    """Looks at one server process."""

    server: Server
    connection: Connection
    valkey: Redis

    @property
    def process(self) -> psutil.Process:
        """The process that serves. Raises RigError when there is none."""
        workers = self.server.workers()
        if not workers:
            raise RigError(f"the server is gone; see {self.server.log}")
        return workers[0]

    @property
    def rss_mb(self) -> float:
        """Its resident memory now."""
        return float(self.process.memory_info().rss / 2**20)

    async def outside(self) -> dict[str, int]:
        """What can be counted from outside."""
        process = self.process
        return {
            "connection rows": await self._number(CONNECTIONS),
            "sockets": len(process.net_connections("all")),
            "descriptors": process.num_fds(),
            "threads": process.num_threads(),
            "groups": int((await self.valkey.info("stats"))["pubsub_channels"]),
            "backends": await self._number(BACKENDS),
        }

    async def sample(self, *, like: Mapping[str, int] | None = None) -> Sample:
        """Wait until everything is `like` before, or for QUIET_S, while the server tidies up.

        The first time, without anything to be like, until no session is left and nothing changes.
        """
        deadline, before = clock() + QUIET_S, None
        while True:
            found = await self.outside()
            same = _same(found, like) if like is not None else _still(found, before)
            if same or clock() > deadline:
                break
            before = found
            await asyncio.sleep(LOOK_S if like is not None else STILL_S)
        held = await inside(self.server.url)
        while like is not None and held.tasks > like["tasks"] and clock() < deadline:
            held = await inside(self.server.url)
        memory = self.process.memory_full_info()
        return Sample(
            exact={**found, "tasks": held.tasks}, inside=held, uss=memory.uss, rss=memory.rss
        )

    async def full(self, sessions: int, *, within_s: float) -> bool:
        """Wait until the database knows so many sessions. Returns whether that came."""
        deadline = clock() + within_s
        while clock() < deadline:
            if await self._number(CONNECTIONS) >= sessions:
                return True
            await asyncio.sleep(LOOK_S)
        return False

    async def _number(self, query: str) -> int:
        row = await (await self.connection.execute(query)).fetchone()
        return int(row[0]) if row else 0


async def inside(url: str) -> Inside:
    """Have a server of `perf.rig.inspection` tidy up and say what it holds. Raises RigError when it is another."""
    parts = urlsplit(url)
    async with asyncio.timeout(ANSWER_S):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            host = f"{parts.hostname}:{parts.port}"
            writer.write(f"GET /{PATH} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            answer = await reader.read()
        finally:
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise RigError(f"the server does not say what it holds: {head[:80]!r}")
    return msgspec.json.decode(body, type=Inside)


def _same(found: Mapping[str, int], like: Mapping[str, int]) -> bool:
    return all(count <= like[name] for name, count in found.items())


def _still(found: Mapping[str, int], before: Mapping[str, int] | None) -> bool:
    return found == before and not found["connection rows"]


def leftovers(baseline: Sample, later: Sample) -> dict[str, int]:
    """What is there that was not there before, by name."""
    return {
        name: later.exact[name] - baseline.exact[name]
        for name in EXACT
        if later.exact[name] > baseline.exact[name]
    }


def signals(samples: list[Sample]) -> list[Signal]:
    """The trends of these samples."""
    found = [
        Signal(name="Python blocks", kind="blocks", values=[s.inside.blocks for s in samples]),
        Signal(name="objects", kind="objects", values=[s.inside.objects for s in samples]),
        Signal(name="USS", kind="memory", values=[s.uss for s in samples]),
    ]
    in_use = [s.inside.in_use for s in samples if s.inside.in_use is not None]
    if len(in_use) == len(samples):
        found.append(Signal(name="malloc in use", kind="in_use", values=in_use))
    return found


def growers(first: Sample, last: Sample, *, most: int = 5) -> dict[str, int]:
    """The types of which most objects were added."""
    grown = Counter(last.inside.types)
    grown.subtract({name: count for name, count in first.inside.types.items() if name in grown})
    return {name: count for name, count in grown.most_common(most) if count > 0}


def facts(sample: Sample) -> dict[str, Any]:
    """A row of the table of cycles."""
    return {
        **sample.exact,
        "blocks": sample.inside.blocks,
        "objects": sample.inside.objects,
        "malloc_in_use": sample.inside.in_use,
        "uss": sample.uss,
        "rss": sample.rss,
    }
