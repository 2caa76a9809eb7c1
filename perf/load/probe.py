"""Looks at the run from beside it: CPU and memory of processes, the database's answers, the pulse.

CPU is in % of one core over the measured time; memory is resident set size in MB. Database times
come from a connection of the rig's own, and from pg_stat_statements where the server has it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count, cycle
from time import perf_counter
from typing import NamedTuple

import msgspec
import psutil
import psycopg

from perf.load.device import Device
from perf.measure.latency import Latency
from perf.measure.processes import Group, cpu_s, machine_s
from perf.measure.statements import ServerStatements as ServerStatements  # noqa: PLC0414 - for its users
from perf.rig.database import Connection
from perf.rig.environment import family

SAMPLE_S = 0.25
STATEMENT_S = 0.02
PULSE_S = 0.1
PULSE_LATE_S = 1.0  # a ping without a pong for so long counts as down

# Statements of the classes that the server itself uses, on the run's own data.
STATEMENTS = {
    "catch-up": (
        "SELECT id, seq, body FROM messaging_message WHERE conversation_id = %(conversation)s"
        " AND seq > (SELECT last_seq - 20 FROM messaging_conversation WHERE id = %(conversation)s) ORDER BY seq LIMIT 200"
    ),
    "member": "SELECT user_id FROM messaging_membership WHERE conversation_id = %(conversation)s AND left_seq IS NULL",
    "device": "SELECT id, user_id, revoked FROM presence_device WHERE id = %(device)s",
    "commit": "SELECT pg_logical_emit_message(true, 'lockstep perf', 'x')",
}


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a group of processes used."""

    processes: int
    cpu_percent: float
    rss_mb: float


class Reading(NamedTuple):
    """CPU seconds used by each group, and by all of the machine (`busy`), at one moment (s).

    The moment is that of the reading: a busy loop comes to it late, and hears of it late.
    """

    at: float
    used: Mapping[str, float]
    busy: float


@dataclass
class Resources:
    """CPU and memory of named groups of processes over the time inside `measured`."""

    groups: Mapping[str, Group]
    usage: dict[str, Usage] = field(default_factory=dict)
    others_percent: float | None = None
    _members: dict[str, list[psutil.Process]] = field(default_factory=dict)
    _rss: dict[str, float] = field(default_factory=dict)

    @asynccontextmanager
    async def measured(self) -> AsyncIterator[None]:
        """Measure the time inside."""
        before = await asyncio.to_thread(self._read)  # it takes ten milliseconds and more
        sampler = asyncio.create_task(self._sample())
        try:
            yield
        finally:
            sampler.cancel()
            after = await asyncio.to_thread(self._read)
            passed = after.at - before.at
            self._look()
            for name, group in self._members.items():
                self.usage[name] = Usage(
                    processes=len(group),
                    cpu_percent=round(
                        100 * max(after.used[name] - before.used[name], 0) / passed, 1
                    ),
                    rss_mb=round(self._rss.get(name, 0.0), 1),
                )
            known = sum(one.cpu_percent for one in self.usage.values())
            all_percent = 100 * (after.busy - before.busy) / passed
            self.others_percent = round(max(all_percent - known, 0.0), 1)

    def _read(self) -> Reading:
        """Look the members of each group up, and read what each group has used so far."""
        self._members = {name: list(find()) for name, find in self.groups.items()}
        used = {name: cpu_s(name, members) for name, members in self._members.items()}
        return Reading(perf_counter(), used, machine_s()[0])

    async def _sample(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(SAMPLE_S)

    def _look(self) -> None:
        for name, group in self._members.items():
            total = 0.0
            for process in group:
                with suppress(psutil.NoSuchProcess):
                    total += process.memory_info().rss / 2**20
            self._rss[name] = max(total, self._rss.get(name, 0.0))


WORKERS: list[int] = []
"""The processes with a part of the load; a `Crew` keeps this."""


def generator() -> list[psutil.Process]:
    """This process, and whoever carries a part of the load for it."""
    found = [psutil.Process(os.getpid())]
    for pid in WORKERS:
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid))
    return found


async def database_group(connection: Connection) -> Group:
    """PostgreSQL's processes, if they are of this machine."""
    backend = (await (await connection.execute("SELECT pg_backend_pid()")).fetchone() or (0,))[0]
    try:
        postmaster = psutil.Process(backend).parent()
    except psutil.NoSuchProcess:
        postmaster = None
    if postmaster is None or "postgres" not in postmaster.name():
        return list
    return partial(family, postmaster.pid)


class DatabaseProbe:
    """Times statements on a connection of the rig's own."""

    def __init__(
        self, connection: Connection, *, conversations: Iterable[str], devices: Iterable[str]
    ) -> None:
        self.latency = Latency()
        self.by_statement = {name: Latency() for name in STATEMENTS}
        self.failures: list[str] = []
        self._connection = connection
        self._facts = zip(cycle(conversations), cycle(devices), strict=False)

    async def run(self) -> None:
        """Ask, one statement after another, until cancelled."""
        for conversation, device in self._facts:
            facts = {"conversation": conversation, "device": device}
            for name, statement in STATEMENTS.items():
                begun = perf_counter()
                try:
                    cursor = await self._connection.execute(statement, facts)
                    await cursor.fetchall()
                except psycopg.Error as error:
                    self.failures.append(str(error).partition("\n")[0])
                    return
                passed = perf_counter() - begun
                self.latency.record(passed)
                self.by_statement[name].record(passed)
                await asyncio.sleep(STATEMENT_S)


class Pulse:
    """Pings the server through one device after another; what comes back late or never is downtime.

    Time passes only while this process lives: what stood still itself could hear nobody.
    """

    def __init__(self, devices: Sequence[Device], *, late_s: float = PULSE_LATE_S) -> None:
        self.asked = self.answered = 0
        self._devices, self._late_s = devices, late_s
        self._lived_s = 0.0
        self._waiting: list[tuple[Device, int, int, float]] = []

    @property
    def uptime_percent(self) -> float | None:
        """Share of pings that were answered in time; None if none was due."""
        return 100 * self.answered / self.asked if self.asked else None

    async def run(self) -> None:
        """Ping until cancelled; devices that come meanwhile have their turn, too."""
        for number in count():
            if self._devices:
                self._ask(self._devices[number % len(self._devices)])
            begun = perf_counter()
            await asyncio.sleep(PULSE_S)
            self._lived_s += min(perf_counter() - begun, 2 * PULSE_S)
            self.settle(lambda asked: self._lived_s - asked >= self._late_s)

    def _ask(self, device: Device) -> None:
        if not device.away and not any(waiting[0] is device for waiting in self._waiting):
            self._waiting.append((device, device.cuts, device.pongs, self._lived_s))
            device.ping()

    def settle(self, is_late: Callable[[float], bool]) -> None:
        """Count the pings that were answered, and those that are late, by the moment (s lived) they were asked.

        A ping to a device whose connection the rig cut meanwhile says nothing.
        """
        waiting = []
        for device, cuts, before, asked in self._waiting:
            if device.pongs > before:
                self.answered += 1
                self.asked += 1
            elif device.cuts != cuts:
                continue
            elif is_late(asked):
                self.asked += 1
            else:
                waiting.append((device, cuts, before, asked))
        self._waiting = waiting
