"""A server of the rig's own: started, looked at, stopped, killed, and started again on its port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import psutil

from perf.rig import children
from perf.rig.children import RigError, manage

READY_S = 60.0
LOOK_S = 0.05  # how often a probe of readiness asks
SERVES = b"Lockstep serves at"  # what `serve` says once all of its processes do
LOADS, SPARE = "lockstep loads", "lockstep spare"  # names of processes that do not serve yet


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def family(pid: int) -> list[psutil.Process]:
    """A process and everything it started; empty if it is gone."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@dataclass(kw_only=True, eq=False)
class Server:
    """`manage.py serve` on a free port. `env` is what it needs beside the rig's own environment.

    Without `spare` it keeps no spare process, which would load what it needs in the middle of a measurement.
    `within` begins the command line of one that runs on a host of its own, whose address is `host` then.
    """

    env: Mapping[str, str]
    log: Path
    processes: int = 1
    kind: str = "uvicorn"
    spare: bool = False
    host: str = "127.0.0.1"
    within: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    _child: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{self.host}:{self.port}"

    async def start(self) -> None:
        """Start it and wait until all of its processes serve. Raises RigError."""
        said = self.log.stat().st_size if self.log.exists() else 0
        command = manage(
            *("serve", "--host", self.host, "--port", str(self.port)),
            *("--processes", str(self.processes)),
            *("--server", self.kind, "--no-migrate"),
            *(() if self.spare else ("--no-spare",)),
        )
        command = [*self.within, *command]
        child = await children.start(command, env=self.env, log=self.log, talks=False)
        self._child = child
        deadline = monotonic() + READY_S
        while SERVES not in self.log.read_bytes()[said:]:
            if child.returncode is not None:
                words = children.last_words(self.log)
                raise RigError(f"the server ended before it was ready: {words}")
            if monotonic() > deadline:
                raise RigError(f"the server was not ready within {READY_S:.0f} s; see {self.log}")
            await asyncio.sleep(LOOK_S)

    async def stop(self, *, patience_s: float = children.STOP_S) -> None:
        """Let it drain and end; without patience it is killed."""
        child, self._child = self._child, None
        if child is not None:
            await children.stop(child, patience_s=patience_s)

    async def kill(self) -> None:
        """Kill all of its processes at once."""
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        await self.stop()

    def family(self) -> list[psutil.Process]:
        """Its supervisor, the processes that serve, and the spare one."""
        return family(self._child.pid) if self._child is not None else []

    def workers(self) -> list[psutil.Process]:
        """The processes that serve, for who wants to stop or kill one."""
        return [one for one in self.family()[1:] if _name(one) not in ("", LOADS, SPARE)]

    async def until_spare(self) -> None:
        """Wait, at most READY_S, until the spare process has loaded, if it keeps one."""
        deadline = monotonic() + READY_S
        while self.spare and monotonic() < deadline:
            if any(_name(one) == SPARE for one in self.family()):
                return
            await asyncio.sleep(LOOK_S)


def _name(process: psutil.Process) -> str:
    """What it calls itself; nothing if it is gone."""
    with suppress(psutil.Error):
        return str(process.name())
    return ""


async def until_ready(url: str) -> None:
    """Ask until whatever listens there answers HTTP. Raises RigError when it does not."""
    deadline = monotonic() + READY_S
    while (reason := await _why_not_ready(url)) is not None:
        if monotonic() > deadline:
            raise RigError(f"{url} was not ready within {READY_S:.0f} s ({reason}): is it running?")


async def _why_not_ready(url: str) -> str | None:
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    try:
        async with asyncio.timeout(READY_S):
            await _ask(parts.hostname or "127.0.0.1", parts.port or (443 if tls else 80), tls=tls)
    except (OSError, TimeoutError) as error:
        await asyncio.sleep(LOOK_S)
        return str(error) or type(error).__name__
    return None


async def _ask(host: str, port: int, *, tls: bool) -> None:
    reader, writer = await asyncio.open_connection(host, port, ssl=tls or None)
    try:
        writer.write(f"GET /ws/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        if not (await reader.readline()).startswith(b"HTTP/"):
            raise ConnectionError("it does not speak HTTP")
    finally:
        writer.close()
