"""Where a run takes place: a private environment that leaves nothing, or one that runs already.

The private one is PostgreSQL, Valkey, a database, accounts and a server of its own, all child
processes that are spoken to through `manage.py` and sockets. Readiness is probed, never slept for.
`keeper` holds the services, `server` the servers, `machine` says what the figures depend on.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psutil

from perf.rig import accounts, children, cleanup, keeper, machine
from perf.rig.accounts import Account
from perf.rig.children import MARK, RigError, manage
from perf.rig.hosts import Host
from perf.rig.keeper import Kept
from perf.rig.server import Server, family, until_ready

__all__ = ["Crowd", "Environment", "RigError", "family", "private", "provision", "running"]

T = TypeVar("T")

PROVISION_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """The accounts that a scenario needs: every conversation with its own members and their devices."""

    conversations: int
    members: int
    devices: int = 1  # of each member

    @property
    def accounts(self) -> int:
        """How many devices that is."""
        return self.conversations * self.members * self.devices


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Servers that answer, accounts for them, and their database if that may be looked at.

    `url` is the first server's. A private one also has `logs`, and `env`, with which another server
    of the same database is started, and its services are `kept`. A scenario that makes accounts of its
    own adds them.
    """

    url: str
    accounts: list[Account]
    database_url: str | None
    redis_url: str | None = None
    servers: list[Server] = field(default_factory=list)
    env: Mapping[str, str] = field(default_factory=dict)
    logs: Path | None = None
    kept: Kept | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    ended: list[int] = field(
        default_factory=list
    )  # processes of each server beside, before its time

    @property
    def port(self) -> int:
        """The server's port."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    def server_processes(self) -> list[psutil.Process]:
        """The servers' processes on this machine: our own, else those of a Lockstep that listen on the port."""
        if self.servers:
            return [process for server in self.servers for process in server.family()]
        if not is_here(urlsplit(self.url).hostname or ""):
            return []  # whoever listens on that port here is somebody else
        listening = {
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (self.port,)
        }
        found = [one for pid in listening if pid and serves(pid) for one in family(pid)]
        return list({one.pid: one for one in found}.values())

    @asynccontextmanager
    async def another(
        self, name: str, *, settings: str | None = None, **env: str
    ) -> AsyncIterator[Server]:
        """One more server of a private environment, with settings and environment of its own.

        Raises RigError.
        """
        async with self.beside(name, {**_settings(settings), **env}) as server:
            yield server

    @asynccontextmanager
    async def beside(
        self, name: str, env: Mapping[str, str], *, processes: int = 1, host: Host | None = None
    ) -> AsyncIterator[Server]:
        """The same, of so many processes, or on another host. Raises RigError."""
        if self.logs is None:
            raise RigError("only a private environment can have another server: leave out --url")
        own = {**self.env, **env}
        spare = self.servers[0].spare
        server = Server(env=own, log=self.logs / f"{name}.log", processes=processes, spare=spare)
        if host is not None:
            server.host, server.within = host.address, host.command
            server.env = {**own, "ALLOWED_HOSTS": host.address}
        self.servers.append(server)  # whoever measures the servers measures this one, too
        began: set[psutil.Process] = set()
        try:
            await server.start()
            began = set(server.family())
            yield server
        finally:
            self.ended.append(len(began - set(server.family())))
            await server.stop()
            self.servers.remove(server)


@cache
def is_here(host: str) -> bool:
    """Whether a host is this machine: only whoever has an address may bind it."""
    with suppress(OSError):
        for kind, _, _, _, address in socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM):
            with suppress(OSError), socket.socket(kind, socket.SOCK_DGRAM) as one:
                one.bind(address)
                return True
    return False


def serves(pid: int) -> bool:
    """Whether a process is a server of Lockstep, and not a proxy or a tunnel to one."""
    with suppress(psutil.Error):
        return "project.worker" in psutil.Process(pid).cmdline()
    return False


def look_at(url: str, accounts_file: Path) -> list[Account]:
    """The accounts for a deployment, if its address is one. Raises RigError."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # the port is no number
        known = False
    if not known:
        raise RigError(
            f"--url {url} is no address: it begins with http:// or https://, and names a host"
        )
    try:
        return accounts.load(accounts_file)
    except accounts.BadAccounts as error:
        raise RigError(str(error)) from None


@asynccontextmanager
async def running(
    *, url: str, accounts_file: Path, database_url: str | None, redis_url: str | None = None
) -> AsyncIterator[Environment]:
    """A deployment that runs already, with accounts made for it. Raises RigError."""
    found = look_at(url, accounts_file)
    await until_ready(url)
    yield Environment(
        url=url,
        accounts=found,
        database_url=database_url,
        redis_url=redis_url,
        facts={**machine.facts(), "environment": url},
    )


@asynccontextmanager
async def private(
    *,
    crowd: Crowd,
    processes: int = 1,
    server: str = "uvicorn",
    spare: bool = False,
    settings: str | None = None,
    logs: Path | None = None,
    env: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Environment]:
    """A new environment with these accounts, gone afterwards but for its `logs`. Raises RigError.

    A crowd of nobody is an environment without accounts; `settings` are those of its server, `env`
    is added for all of its processes. With `spare` its servers keep a spare process, as in operation.
    """
    with cleanup.workplace() as directory:
        place = logs or directory
        async with keeper.services(directory, logs=place) as kept:
            addresses = kept.addresses
            every = {**_env(directory, addresses), **env}
            own = {**every, **_settings(settings)}
            log = place / "server.log"
            one = Server(env=own, log=log, processes=processes, kind=server, spare=spare)
            try:
                async with _meanwhile(provision(crowd, env=every, logs=place)) as making:
                    await one.start()
                    found = await making
                yield Environment(
                    url=one.url,
                    accounts=found,
                    database_url=addresses["DATABASE_URL"],
                    redis_url=addresses["REDIS_URL"],
                    servers=[one],
                    env=every,
                    logs=place,
                    kept=kept,
                    facts=await _facts(addresses, one),
                )
            finally:
                await one.stop()


def _env(directory: Path, addresses: Mapping[str, str]) -> dict[str, str]:
    """What every process of a private environment is started with."""
    return {
        **addresses,
        MARK: str(directory),
        "LOCKSTEP_DATA": str(directory),
        "TMPDIR": str(directory),  # so that nothing is left elsewhere
        "DEBUG": "0",
        "HTTPS": "0",  # its servers are reached without TLS, by browsers at the admin too
        "LOG_LEVEL": "WARNING",
    }


def _settings(module: str | None) -> dict[str, str]:
    return {} if module is None else {"DJANGO_SETTINGS_MODULE": module}


async def _facts(addresses: Mapping[str, str], server: Server) -> dict[str, Any]:
    return {
        **machine.facts(),
        **await machine.services(addresses),
        "environment": "private",
        "server": server.kind,
        "processes": server.processes,
    }


@asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Do this beside what is inside, and never longer."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def provision(
    crowd: Crowd,
    *,
    env: Mapping[str, str],
    logs: Path,
    prefix: str = "perf",
    password: str | None = None,
) -> list[Account]:
    """Make the accounts of a scenario, named after `prefix`. Raises RigError."""
    if not crowd.accounts:
        return []
    printed = await _manage(
        "provision",
        *("--users", str(crowd.conversations * crowd.members)),
        *("--devices", str(crowd.accounts)),
        *("--conversations", str(crowd.conversations)),
        *("--members", str(crowd.members), "--prefix", prefix),
        *([] if password is None else [f"--password={password}"]),  # it may begin with a hyphen
        env=env,
        logs=logs,
    )
    try:
        return accounts.parse(printed.splitlines())
    except accounts.BadAccounts as error:
        raise RigError(f"`manage.py provision` printed {error}") from None


async def _manage(*arguments: str, env: Mapping[str, str], logs: Path) -> bytes:
    log = logs / f"{arguments[0]}.log"
    return await children.run(manage(*arguments), env=env, log=log, within_s=PROVISION_S)
