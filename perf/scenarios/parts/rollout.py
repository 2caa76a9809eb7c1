"""Deploys: every process of a server is ended politely and replaced, one after the other, while all others serve.

And the door of the deployment: somebody who asks it four times a second, and what share is answered (T9).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from perf.history.testimony import clock
from perf.load.rest import NoAnswer, Rest
from perf.measure.latency import Latency
from perf.rig.children import RigError
from perf.rig.server import Server

LOOK_S = 0.1
REPLACED_S = 120.0  # twice what a supervisor gives a process to start
KNOCK_S = 0.25
LATE_S = 1.0
OK = 200


async def roll(server: Server) -> int:
    """Replace the serving processes one by one; return how many. Raises RigError when one does not come back."""
    before = await _looked(server)
    for pid in sorted(before):
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).terminate()
        deadline = clock() + REPLACED_S
        while True:
            now = await _looked(server)
            if pid not in now and len(now) == len(before):
                break
            if clock() > deadline:
                raise RigError(f"a server process was not replaced within {REPLACED_S:.0f} s; see {server.log}")  # fmt: skip
            await asyncio.sleep(LOOK_S)
    return len(before)


async def _looked(server: Server) -> set[int]:
    """The same, in a thread: with thousands of sockets on the machine a look takes a second, and the load would stand still."""
    return await asyncio.to_thread(listening, server)


def listening(server: Server) -> set[int]:
    """The processes of a server that take connections on its port."""
    found = set()
    for process in server.workers():
        with suppress(psutil.Error):
            if any(
                one.status == psutil.CONN_LISTEN and one.laddr.port == server.port
                for one in process.net_connections("tcp")
            ):
                found.add(process.pid)
    return found


@dataclass(kw_only=True)
class Door:
    """Asks for a user's devices, of each address in turn. Who is not answered asks once more at once, as
    every balancer and client does when a kept connection ends; then it has a second in all."""

    urls: Sequence[str]
    token: str
    latency: Latency = field(default_factory=Latency)
    asked: int = 0
    answered: int = 0
    why: str = ""

    async def run(self) -> None:
        """Ask until cancelled."""
        clients = [Rest(url) for url in self.urls]
        number = 0
        try:
            while True:
                begun = clock()
                self._note(begun, await self._knock(clients[number % len(clients)]))
                number += 1
                await asyncio.sleep(max(begun + KNOCK_S - clock(), 0))
        finally:
            for one in clients:
                await one.close()

    async def _knock(self, rest: Rest) -> str:
        """What was wrong; nothing if it was answered."""
        why = ""
        with suppress(TimeoutError):
            async with asyncio.timeout(LATE_S):
                for _ in range(2):
                    try:
                        answer = await rest.ask("GET", "/api/devices", token=self.token)
                    except NoAnswer as error:
                        why = str(error)
                        continue
                    if answer.status == OK:
                        return ""
                    why = f"GET /api/devices was answered with {answer.status}"
        return why or f"no answer within {LATE_S:.0f} s"

    def _note(self, begun: float, why: str) -> None:
        self.asked += 1
        self.why = self.why or why
        if not why:
            self.answered += 1
            self.latency.record(clock() - begun)

    @property
    def percent(self) -> float | None:
        """Share that was answered in time; None if nobody asked."""
        return 100 * self.answered / self.asked if self.asked else None
