"""1,000 clients that say hello and then never read: what they cost a real server, over minutes.

They answer no ping either, so the server cuts them after 50 s; each round is a new 1,000. Two rounds
take two minutes; `STALLED_ROUNDS=6` makes it more than five.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import resource
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from project.limits import PING_S, PING_TIMEOUT_S
from tests import scene
from tests.acceptance.test_sessions import Dial, dial, environment, own_server  # noqa: F401  (fixtures)
from tests.device import Device
from tests.integration.conftest import hand, shared_database, sql  # noqa: F401  (fixtures)
from tests.scene import Psql, Seat
from tests.server import Server

pytestmark = [pytest.mark.django_db, pytest.mark.long, pytest.mark.timeout(1_200)]

READERS = 1_000
ROOMS = 10  # of 100 readers each
ROUNDS = int(os.environ.get("STALLED_ROUNDS", "2"))
LEAST_FLOW_S = 15.0  # of a round, from the last reader's hello until the server cuts the first
CUT_S = PING_S + PING_TIMEOUT_S + 20.0
MOST_BODY_BYTES = 4_096
MOST_BYTES = 100_000_000  # G10
MOST_GROWTH_BYTES = 20_000_000  # between rounds: the rooms' rings (1 MiB each) may still be filling


@contextlib.asynccontextmanager
async def stalled(server: Server, seats: list[Seat]) -> AsyncIterator[None]:
    """Clients that never read; their own buffers are as small as they get."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    tokens = [seat.token for seat in seats]
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(50) as pool:
        made = pool.map(_stalled, [server.port] * len(tokens), tokens)
        for each in await asyncio.to_thread(list, made):
            stack.enter_context(each)
        yield


def _stalled(port: int, token: str) -> socket.socket:
    """Once let in: a busy server lets in one after the other, and tells the rest to come back."""
    while True:
        made = _hello(port, token)
        with contextlib.suppress(ConnectionError):
            if b"welcome" in made.recv(200, socket.MSG_PEEK):  # a look, which reads nothing
                return made
        made.close()
        time.sleep(random.random())  # a second at most: it may say more, but nobody reads that


def _hello(port: int, token: str) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    made.connect(("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16)).decode()
    made.sendall(
        f"GET /ws/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += made.recv(1)
    assert b" 101 " in head
    payload = json.dumps({"type": "hello", "token": token}).encode()
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))
    made.sendall(struct.pack("!BBH", 0x81, 0x80 | 126, len(payload)) + mask + masked)
    return made


class Talk:
    """One device that writes to all rooms, and the server's memory meanwhile."""

    def __init__(self, ann: Device, rooms: list[str], worker: psutil.Process) -> None:
        self.sent = 0
        self._ann, self._rooms, self._worker = ann, rooms, worker

    async def flow(self, going_on: Callable[[], bool]) -> tuple[list[float], list[int]]:
        """Write to each room in turn; how long each answer took (s), and the memory (bytes)."""
        took, memory = [], []
        while going_on():
            for _ in self._rooms:
                began = time.monotonic()
                await self.write(1)
                took.append(time.monotonic() - began)
            memory.append(self._worker.memory_info().rss)
        return took, memory

    async def write(self, messages: int) -> None:
        """Write that many messages, one after the other."""
        for _ in range(messages):
            self.sent += 1
            body = "x" * random.randint(100, MOST_BODY_BYTES)
            room = self._rooms[self.sent % len(self._rooms)]
            answer = await self._ann.write(room, body, client_id=f"{room}-{self.sent}")
            assert answer["type"] == "ok"
            del self._ann.heard[:]  # this client would otherwise keep all of it


async def test_a_thousand_stalled_readers_cost_less_than_100_mb_and_hold_up_nobody(
    dial: Dial,  # noqa: F811
    own_server: Server,  # noqa: F811
    sql: Psql,  # noqa: F811
) -> None:
    writer = scene.new_seat(sql)
    users = [scene.new_user(sql) for _ in range(ROOMS)]
    seats = [scene.new_seat(sql, users[n % ROOMS]) for n in range(READERS)]
    rooms = [scene.new_room(sql, writer, seats[n]).id for n in range(ROOMS)]
    ann = await dial(own_server, writer)
    await Talk(ann, [scene.new_room(sql, writer).id], own_server.worker).write(500)
    talk = Talk(ann, rooms, own_server.worker)
    before = own_server.worker.memory_info().rss
    peaks = []
    for number in range(ROUNDS):
        async with stalled(own_server, seats):
            await scene.eventually(lambda: present(sql) > READERS, within=60)
            began = time.monotonic()
            took, memory = await talk.flow(lambda: present(sql) > READERS)
            lasted = time.monotonic() - began
            await scene.eventually(lambda: present(sql) == 1, within=CUT_S)
        peaks.append(max(memory))
        half = max(memory[: len(memory) // 2])
        print(
            f"\nround {number + 1}: {READERS} stalled readers add {(half - before) / 1e6:.1f} MB, "
            f"{(peaks[-1] - before) / 1e6:.1f} MB after {lasted:.0f} s with {len(took)} messages; "
            f"an answer takes {sorted(took)[len(took) // 2] * 1_000:.1f} ms"
        )
        assert lasted > LEAST_FLOW_S
    assert max(peaks) - before < MOST_BYTES
    assert peaks[-1] - peaks[0] < MOST_GROWTH_BYTES


def present(sql: Psql) -> int:  # noqa: F811
    """How many sessions the server holds."""
    return scene.count(sql, "presence_connection")
