"""Where a run takes place: a private environment that leaves nothing, or one that runs already.

The private one is PostgreSQL, Valkey, a database, accounts and a server of its own, all child
processes that are spoken to through `manage.py`. Readiness is probed, never slept for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import psutil

from perf import accounts, children
from perf.accounts import Account
from perf.children import RigError, manage

T = TypeVar("T")

READY_S = 30.0
SERVICES_S = 60.0  # a first start of PostgreSQL on a slow disk
PROVISION_S = 120.0
LOOK_S = 0.05  # how often a probe of readiness asks

# Holds the services for as long as the rig's end of stdin is open, whatever becomes of the rig.
SERVICES = """
import json, pathlib, sys
from project import services
directory = pathlib.Path(sys.argv[1])
try:
    found = services.start(directory)
    print(json.dumps({"DATABASE_URL": found.database_url, "REDIS_URL": found.redis_url}), flush=True)
    sys.stdin.read()
except services.ServiceError as error:
    sys.exit(f"error: {error}")
finally:
    services.stop(directory, delete=True)
"""


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """The accounts that a scenario needs: every conversation with its own members and their devices."""

    conversations: int
    members: int
    devices: int = 1  # of each member


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A server that answers, accounts for it, and its database if that may be looked at."""

    url: str
    accounts: Sequence[Account]
    database_url: str | None
    server_pid: int | None = None
    facts: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def port(self) -> int:
        """The server's port."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    def server_processes(self) -> list[psutil.Process]:
        """The server's processes on this machine: its supervisor's family, else those that listen on its port."""
        if self.server_pid is not None:
            return family(self.server_pid)
        listening = {
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (self.port,)
        }
        found = [one for pid in listening if pid is not None for one in family(pid)]
        return list({one.pid: one for one in found}.values())


def family(pid: int) -> list[psutil.Process]:
    """A process and everything it started; empty if it is gone."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@asynccontextmanager
async def running(
    *, url: str, accounts_file: Path, database_url: str | None
) -> AsyncIterator[Environment]:
    """A deployment that runs already, with accounts made for it. Raises RigError."""
    try:
        found = accounts.load(accounts_file)
    except accounts.BadAccounts as error:
        raise RigError(str(error)) from None
    await until_ready(url, alive=lambda: True, log=None)
    yield Environment(
        url=url, accounts=found, database_url=database_url, facts={**machine(), "environment": url}
    )


@asynccontextmanager
async def private(*, crowd: Crowd, processes: int, server: str) -> AsyncIterator[Environment]:
    """A new environment with these accounts, gone afterwards. Raises RigError."""
    directory = Path(tempfile.mkdtemp(prefix="lockstep-perf-"))
    kept = False
    try:
        async with services(directory) as addresses:
            env = {
                **addresses,
                "LOCKSTEP_DATA": str(directory),
                "DEBUG": "0",
                "LOG_LEVEL": "WARNING",
            }
            await _manage("migrate", "-v0", env=env, directory=directory)
            async with (
                _meanwhile(provision(crowd, env=env, directory=directory)) as making,
                serve(env, directory, processes=processes, server=server) as (url, pid),
            ):
                found = await making
                yield Environment(
                    url=url,
                    server_pid=pid,
                    accounts=found,
                    database_url=addresses["DATABASE_URL"],
                    facts={
                        **machine(),
                        "environment": "private",
                        "server": server,
                        "processes": processes,
                    },
                )
    except RigError as error:
        kept = True
        raise RigError(f"{error} (logs: {directory})") from None
    finally:
        if not kept:
            shutil.rmtree(directory, ignore_errors=True)


@asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Do this beside what is inside, and never longer."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def services(directory: Path) -> AsyncIterator[dict[str, str]]:
    """PostgreSQL and Valkey of this run: their DATABASE_URL and REDIS_URL."""
    log = directory / "services.log"
    command = [sys.executable, "-c", SERVICES, str(directory)]
    child = await children.start(command, env={}, log=log, stdin=True)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        async with asyncio.timeout(SERVICES_S):
            line = await child.stdout.readline()
        if not line:
            raise RigError(children.last_words(log))
        yield msgspec.json.decode(line, type=dict[str, str])
    except TimeoutError:
        raise RigError(f"PostgreSQL and Valkey did not start within {SERVICES_S:.0f} s") from None
    finally:
        child.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(children.STOP_S):
                await child.wait()
        await children.stop(child)


async def provision(
    crowd: Crowd, *, env: Mapping[str, str], directory: Path, prefix: str = "perf"
) -> list[Account]:
    """Make the accounts of a scenario, named after `prefix`."""
    printed = await _manage(
        "provision",
        *("--users", str(crowd.conversations * crowd.members)),
        *("--devices", str(crowd.conversations * crowd.members * crowd.devices)),
        *("--conversations", str(crowd.conversations)),
        *("--members", str(crowd.members), "--prefix", prefix),
        env=env,
        directory=directory,
    )
    try:
        return accounts.parse(printed.splitlines())
    except accounts.BadAccounts as error:
        raise RigError(f"`manage.py provision` printed {error}") from None


@asynccontextmanager
async def serve(
    env: Mapping[str, str], directory: Path, *, processes: int, server: str
) -> AsyncIterator[tuple[str, int]]:
    """A server that answers: its address and its process."""
    port = free_port()
    url, log = f"http://127.0.0.1:{port}", directory / "server.log"
    command = manage(
        *("serve", "--port", str(port), "--processes", str(processes)),
        *("--server", server, "--no-migrate"),
    )
    child = await children.start(command, env=env, log=log)
    assert child.stdout is not None
    drain = asyncio.create_task(_drain(child.stdout, log))
    try:
        await until_ready(url, alive=lambda: child.returncode is None, log=log)
        yield url, child.pid
    finally:
        await children.stop(child)
        await drain


async def until_ready(url: str, *, alive: Callable[[], bool], log: Path | None) -> None:
    """Ask until the server answers HTTP. Raises RigError when it does not, or has ended."""
    deadline = monotonic() + READY_S
    reason: str | None = ""
    while reason is not None:
        if not alive():
            words = children.last_words(log) if log is not None else ""
            raise RigError(f"the server ended before it was ready: {words}")
        if monotonic() > deadline:
            raise RigError(f"{url} was not ready within {READY_S:.0f} s ({reason}): is it running?")
        reason = await _why_not_ready(url)


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


async def _drain(stream: asyncio.StreamReader, log: Path) -> None:
    with log.open("ab") as file:
        async for line in stream:
            file.write(line)


async def _manage(*arguments: str, env: Mapping[str, str], directory: Path) -> bytes:
    log = directory / f"{arguments[0]}.log"
    return await children.run(manage(*arguments), env=env, log=log, within_s=PROVISION_S)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def machine() -> dict[str, str | int]:
    """What the figures depend on."""
    return {
        "cpus": os.cpu_count() or 0,
        "load_before": f"{os.getloadavg()[0]:.2f}",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
    }
