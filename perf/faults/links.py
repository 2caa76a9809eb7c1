"""The lines of the second server: to its clients, to PostgreSQL and to Valkey, each through a proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from perf.faults.proxy import Dial, Proxy, Streams
from perf.rig.server import Server

LOCAL = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Links:
    """The three proxies; `clients` leads nowhere until `lead` has said where."""

    clients: Proxy
    postgres: Proxy
    valkey: Proxy
    addresses: dict[str, str]  # DATABASE_URL and REDIS_URL by way of the proxies

    @property
    def url(self) -> str:
        """The server's address by way of the proxy."""
        return f"http://127.0.0.1:{self.clients.port}"


@asynccontextmanager
async def links(
    addresses: dict[str, str], *, server: list[Server], seed: int, address: str = LOCAL
) -> AsyncIterator[Links]:
    """Proxies before a server that is put into `server` later, which reaches the services at `address`.

    Raises OSError.
    """
    postgres = Proxy(_unix(_postgres_socket(addresses["DATABASE_URL"])), seed=seed)
    valkey = Proxy(_unix(urlsplit(addresses["REDIS_URL"]).path), seed=seed)

    async def dial() -> Streams:
        return await asyncio.open_connection(server[0].host, server[0].port)

    clients = Proxy(dial, seed=seed)
    async with AsyncExitStack() as stack:
        for one in (postgres, valkey):
            await stack.enter_async_context(one.serving(address))
        await stack.enter_async_context(clients.serving(LOCAL))
        parts = urlsplit(addresses["DATABASE_URL"])
        yield Links(
            clients=clients,
            postgres=postgres,
            valkey=valkey,
            addresses={
                "DATABASE_URL": f"postgres://{parts.username}@{address}:{postgres.port}{parts.path}",
                "REDIS_URL": f"redis://{address}:{valkey.port}/0",
            },
        )


def _unix(path: str) -> Dial:
    async def dial() -> Streams:
        return await asyncio.open_unix_connection(path)

    return dial


def _postgres_socket(url: str) -> str:
    """Where the Unix socket of an embedded PostgreSQL is (libpq's naming)."""
    asked = parse_qs(urlsplit(url).query)
    return f"{asked['host'][0]}/.s.PGSQL.{asked['port'][0]}"
