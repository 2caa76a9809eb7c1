"""Every way in which a message may be written: by a device, by an app's own code, by staff, by plain SQL."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

from messaging.protocol import frames
from messaging.protocol.codec import MSGPACK
from perf.load.device import Device
from perf.load.fleet import until
from perf.load.rest import NoAnswer, Rest
from perf.rig import children
from perf.rig.accounts import Account
from perf.rig.children import RigError, manage
from perf.rig.database import Connection, connected
from perf.rig.environment import Environment
from perf.scenarios.parts.plain import Heard, Plain, plain
from perf.scenarios.parts.staff import Staff

INSERT = "INSERT INTO messaging_message (conversation_id, body) SELECT %s::uuid, body FROM unnest(%s::text[]) AS body"
COPY = "COPY messaging_message (conversation_id, body) FROM STDIN"
STAFF = "perf-staff"
WRITTEN = {200, 201}
START_S, WRITE_S = 30.0, 30.0
LOOK_S = 0.001  # how often a device is looked at that waits for an answer

Write: TypeAlias = Callable[[str, Sequence[str]], Awaitable[None]]
"""Writes messages with these bodies into a conversation; returns once that is promised or committed."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way, and how many messages it writes in one go."""

    name: str
    write: Write
    at_once: int = 1


class App:
    """Another Django app's process, which is told what to write through the ORM."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child, self._turn = child, asyncio.Lock()

    async def do(self, deed: str, **given: object) -> None:
        """Have something done, and wait until it is. Raises RigError."""
        pipe = self._child.stdin
        assert pipe is not None
        async with self._turn:
            pipe.write(json.dumps({"do": deed, **given}).encode() + b"\n")
            await self.heard(WRITE_S)

    async def heard(self, within_s: float) -> None:
        """Wait for its next line."""
        pipe = self._child.stdout
        assert pipe is not None
        async with asyncio.timeout(within_s):
            if not await pipe.readline():
                raise RigError("`manage.py perf_orm` ended; its log is among the run's logs")

    def way(self, name: str, deed: str, *, at_once: int = 1) -> Way:
        """One of its ways."""

        async def write(conversation: str, bodies: Sequence[str]) -> None:
            await self.do(deed, conversation=conversation, bodies=list(bodies))

        return Way(name=name, write=write, at_once=at_once)


@asynccontextmanager
async def app(place: Environment) -> AsyncIterator[App]:
    """Such a process for the time inside. Raises RigError."""
    if place.logs is None or place.database_url is None:
        raise RigError("code and SQL can only write to a private environment: leave out --url")
    log = place.logs / "orm.log"
    child = await children.start(manage("perf_orm"), env=place.env, log=log, listens=True)
    try:
        made = App(child)
        await made.heard(START_S)
        yield made
    finally:
        await children.stop(child)


@asynccontextmanager
async def every_way(
    place: Environment,
    one: App,
    *,
    devices: Mapping[str, Device],
    authors: Mapping[str, Account],
    heard: Heard,
) -> AsyncIterator[list[Way]]:
    """All ways, for the time inside.

    `devices` has a device of the fleet for each conversation, `authors` one that is not connected: `heard`
    is told what their MessagePack sessions receive. Raises RigError, OSError.
    """
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        password = secrets.token_urlsafe(12)
        await one.do("superuser", name=STAFF, password=password)
        staff, rest = Staff(place.url), Rest(place.url)
        stack.push_async_callback(rest.close)
        await staff.log_in(STAFF, password)
        assert place.database_url is not None
        database = await enter(connected(place.database_url))
        packing = {
            name: await enter(plain(place.url, account, codec=MSGPACK, heard=heard))
            for name, account in authors.items()
        }
        yield [
            Way(name="WebSocket, JSON", write=_sending(devices)),
            Way(name="WebSocket, MessagePack", write=_saying(packing)),
            Way(name="REST", write=_posting(rest, authors)),
            one.way("ORM save", "save"),
            one.way("bulk_create", "bulk_create", at_once=3),
            Way(name="admin", write=_typing_in(staff)),
            Way(name="SQL INSERT", write=_inserting(database), at_once=2),
            Way(name="COPY", write=_copying(database), at_once=3),
        ]


def _sending(devices: Mapping[str, Device]) -> Write:
    async def write(conversation: str, bodies: Sequence[str]) -> None:
        device = devices[conversation]
        sent = [device.send(conversation, body) for body in bodies]
        device.flush()
        if not await until(lambda: all(one.seq for one in sent), within_s=WRITE_S, look_s=LOOK_S):
            raise NoAnswer(f"a send was not answered within {WRITE_S:.0f} s")

    return write


def _saying(sessions: Mapping[str, Plain]) -> Write:
    async def write(conversation: str, bodies: Sequence[str]) -> None:
        for body in bodies:
            key = secrets.token_hex(8)
            send = frames.Send(conversation=conversation, client_id=key, body=body)
            answer = await sessions[conversation].ask(send)
            if isinstance(answer, frames.Error):
                raise NoAnswer(f"a send was refused: {answer.message}")

    return write


def _posting(rest: Rest, authors: Mapping[str, Account]) -> Write:
    async def write(conversation: str, bodies: Sequence[str]) -> None:
        path, token = f"/api/conversations/{conversation}/messages", authors[conversation].token
        for body in bodies:
            given = {"client_id": secrets.token_hex(8), "body": body}
            answer = await rest.ask("POST", path, token=token, body=given)
            if answer.status not in WRITTEN:
                raise NoAnswer(f"POST {path} was answered with {answer.status}")

    return write


def _typing_in(staff: Staff) -> Write:
    async def write(conversation: str, bodies: Sequence[str]) -> None:
        for body in bodies:
            await staff.add(conversation, body)

    return write


def _inserting(connection: Connection) -> Write:
    async def write(conversation: str, bodies: Sequence[str]) -> None:
        await connection.execute(INSERT, [conversation, list(bodies)])

    return write


def _copying(connection: Connection) -> Write:
    async def write(conversation: str, bodies: Sequence[str]) -> None:
        async with connection.cursor() as cursor, cursor.copy(COPY) as copy:
            for body in bodies:
                await copy.write_row((conversation, body))

    return write
