"""`perf health`: do the services answer, is the schema current, does a message get through?

It looks at the services of this installation (or at a running server with `--url`), sends one
message between two devices of its own, and removes them again.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic as clock
from typing import Any

import psycopg
import redis.asyncio
from redis.exceptions import RedisError

from messaging.protocol import frames
from perf.load.device import Device
from perf.load.fleet import Fleet, FleetError
from perf.load.observer import Observer, Sent
from perf.rig import children, cleanup, machine
from perf.rig.children import MARK, RigError
from perf.rig.database import connected, erase
from perf.rig.environment import Crowd, Environment, provision, running
from perf.rig.housekeeping import HEALTH
from perf.rig.server import Server
from perf.scenario import Findings, Options
from perf.scenarios.parts.shared import recorded
from perf.targets import Outcome

ANSWER_S = 5.0
PAIR = Crowd(conversations=1, members=2)


class Unhealthy(Exception):
    """What is missing, and how to mend it."""


class Arrival(Observer):
    """Waits for one message on a device other than the sender."""

    def __init__(self) -> None:
        self.client_id = ""
        self.seen: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def sent(self, device: Device, sent: Sent) -> None:
        """This is the one."""
        self.client_id, self.sender = sent.client_id, device

    def delivered(self, device: Device, messages: Sequence[frames.Message], now: float) -> None:
        """Here it is, if it is."""
        ours = self.client_id and any(one.client_id == self.client_id for one in messages)
        if ours and device is not self.sender and not self.seen.done():
            self.seen.set_result(now)

    def refused(self, device: Device, code: str, *, final: bool) -> None:
        """It will not come."""
        if final and not self.seen.done():
            self.seen.set_exception(Unhealthy(f"the server refused it ({code}): see its log"))


async def examine(options: Options) -> Findings:
    """Look at everything; what fails is a finding, with its mend."""
    findings = Findings(outcomes=[])
    if options.url is None:
        await _check(findings, "PostgreSQL answers", 1_000, 10, _ask_database)
        await _check(findings, "Redis or Valkey answers", 1_000, 10, _ask_bus)
        await _check(
            findings, "migrations are applied (the check took)", 60_000, 5_000, _ask_schema
        )
    if not findings.broken:
        await _check(
            findings, "a message reaches another device", 1_000, 50, lambda: _round_trip(options)
        )
    return findings


def facts(options: Options) -> dict[str, Any]:
    """What was looked at."""
    return {**machine.facts(), "environment": options.url or "this installation"}


async def _check(
    findings: Findings, name: str, limit: float, goal: float, ask: Callable[[], Awaitable[float]]
) -> None:
    """Time a check in ms; a failed one is a broken guarantee."""
    measured, reason = None, "measured"
    try:
        measured = round(await ask() * 1000, 3)
    except Unhealthy as error:
        reason = str(error)
        findings.broken.append(f"{name}: no. {reason}")
    findings.outcomes.append(
        Outcome(
            name=name,
            unit="ms",
            limit=limit,
            goal=goal,
            measured=measured,
            passed=measured is not None and measured < limit,
            reached=measured is not None and measured < goal,
            source=reason,
        )
    )


async def _ask_database() -> float:
    begun = clock()
    try:
        async with asyncio.timeout(ANSWER_S), connected(_address("DATABASE_URL")) as connection:
            await connection.execute("SELECT 1")
    except (psycopg.Error, TimeoutError) as error:
        reason = str(error).partition("\n")[0] or "no answer"
        raise Unhealthy(
            f"{reason}. Start PostgreSQL, or unset DATABASE_URL to use the embedded one."
        ) from None
    return clock() - begun


async def _ask_bus() -> float:
    begun = clock()
    client = redis.asyncio.from_url(_address("REDIS_URL"), socket_timeout=ANSWER_S)
    try:
        await client.ping()
    except (RedisError, OSError) as error:
        raise Unhealthy(
            f"{error}. Start Redis or Valkey, or unset REDIS_URL to use the embedded one."
        ) from None
    finally:
        await client.aclose()
    return clock() - begun


async def _ask_schema() -> float:
    begun = clock()
    with cleanup.workplace() as directory:
        log = directory / "migrate.log"
        command = children.manage("showmigrations", "--plan", "--no-color")
        try:
            printed = await children.run(command, env={}, log=log, within_s=60)
        except RigError as error:
            raise Unhealthy(str(error)) from None
    missing = [line for line in printed.decode().splitlines() if line.startswith("[ ]")]
    if missing:
        names = ", ".join(line.split()[2] for line in missing[:3])
        raise Unhealthy(f"{len(missing)} are missing ({names} …): run `manage.py migrate`.")
    return clock() - begun


def _address(name: str) -> str:
    if not os.environ.get(name):
        raise Unhealthy(f"{name} is not set: run this through manage.py, which sets it.")
    return os.environ[name]


async def _round_trip(options: Options) -> float:
    """Seconds from a send to its arrival on another device."""
    try:
        async with _place(options) as place:
            with recorded("health", seed=0) as recorder:
                arrival = Arrival()
                fleet = Fleet(url=place.url, recorder=recorder, observer=arrival)
                await fleet.connect(place.accounts[:2], starts={})
                try:
                    return await _send_one(fleet, arrival)
                finally:
                    fleet.disconnect()
    except (RigError, FleetError) as error:
        raise Unhealthy(str(error)) from None


async def _send_one(fleet: Fleet, arrival: Arrival) -> float:
    if len(fleet.devices) != 2:
        raise Unhealthy(f"a device could not connect: {fleet.failures[0]}")
    sender, receiver = fleet.devices
    common = set(sender.account.conversations) & set(receiver.account.conversations)
    if not common:
        raise Unhealthy("the first two accounts have no conversation in common")
    sent = sender.send(common.pop(), "Is anybody there?")
    sender.flush()
    try:
        async with asyncio.timeout(ANSWER_S):
            return await arrival.seen - sent.actual
    except TimeoutError:
        raise Unhealthy(
            f"it did not arrive within {ANSWER_S:.0f} s; see the server's log"
        ) from None


@asynccontextmanager
async def _place(options: Options) -> AsyncIterator[Environment]:
    """The server at --url, or one of our own on this installation's services, with accounts for the moment."""
    if options.url is not None:
        if options.accounts is None:
            raise RigError("--url needs --accounts: make some with `manage.py provision > FILE`")
        async with running(
            url=options.url, accounts_file=options.accounts, database_url=None
        ) as place:
            yield place
        return
    with cleanup.workplace() as directory:
        env = {MARK: str(directory), "DEBUG": "0", "TMPDIR": str(directory)}
        name = f"{HEALTH}-{os.getpid()}-{secrets.token_hex(8)}"
        made = await provision(PAIR, env=env, logs=directory, prefix=name)
        server = Server(env=env, log=directory / "server.log", kind=options.server)
        try:
            await server.start()
            yield Environment(url=server.url, servers=[server], accounts=made, database_url=None)
        finally:
            await server.stop()
            async with connected(_address("DATABASE_URL")) as connection:
                await erase(connection, users=[account.user for account in made])
