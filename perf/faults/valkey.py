"""Faults of Valkey: killed, stopped, emptied. It is only a hint (G6), so nothing may be lost."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.exceptions import RedisError

from perf.faults import processes
from perf.faults.fault import Fault
from perf.measure.metrics import gauges

ASK_S = 0.5  # patience with an answer


class ValkeyKill(Fault):
    """kill -9; the rig starts it again."""

    name = "valkey-kill"
    what = "kill -9 of Valkey, started again when the fault ends"
    clients = 0.0

    async def begin(self) -> None:
        """Count who is connected, and kill it."""
        self.clients = await clients_of(self.site.redis_url)
        pids = await self.site.kept.revive()
        processes.kill([pids.valkey])

    async def end(self) -> None:
        """Start it."""
        await self.site.kept.revive()

    async def felt(self) -> dict[str, float]:
        """The servers' connections ended with it."""
        gone = not await answers(self.site.redis_url)
        return {"connections cut": self.clients * gone}


class ValkeyPause(Fault):
    """SIGSTOP, then SIGCONT."""

    name = "valkey-pause"
    what = "SIGSTOP of Valkey, then SIGCONT"
    hold_s = (4.0, 8.0)
    clients = 0.0
    pid: int | None = None

    async def begin(self) -> None:
        """Stop it."""
        self.clients = await clients_of(self.site.redis_url)
        self.pid = (await self.site.kept.revive()).valkey
        processes.suspend(self.pid)

    async def end(self) -> None:
        """Let it go on."""
        if self.pid is not None:
            processes.resume(self.pid)

    async def felt(self) -> dict[str, float]:
        """The servers are connected to something that does not answer."""
        silent = not await answers(self.site.redis_url)
        return {"connections without an answer": self.clients * silent}


class ValkeyFlush(Fault):
    """FLUSHALL; and every client is cut off, since there is little to flush."""

    name = "valkey-flush"
    what = "FLUSHALL of Valkey, and all of its clients cut off once"
    hold_s = (0.0, 0.0)
    lasting = False
    cut = 0.0

    async def begin(self) -> None:
        """Empty it and cut the clients off."""
        async with Redis.from_url(self.site.redis_url) as client:
            await client.flushall()
            for kind in ("normal", "pubsub"):
                self.cut += float(await client.client_kill_filter(_type=kind, skipme=True))  # fmt: skip

    async def end(self) -> None:
        """Nothing: they come back by themselves."""

    async def felt(self) -> dict[str, float]:
        """Who was cut off."""
        return {"connections cut": self.cut}


class ValkeyGone(Fault):
    """It is not there from before the second server starts until all is over (`ground.no_valkey`)."""

    name = "valkey-gone"
    what = "no Valkey at all: it is killed before the second server and the devices start, and stays away"
    hold_s = (1.0, 1.0)
    deaf = 0.0

    async def begin(self) -> None:
        """Nothing: it has begun."""

    async def end(self) -> None:
        """Nothing: it ends with the run."""

    async def felt(self) -> dict[str, float]:
        """Server processes that say they don't hear each other."""
        deaf = 0.0
        for url in (self.site.environment.url, self.site.victim.url):
            deaf += (await gauges(url)).get("bus_deaf", 0.0)
        self.deaf = max(self.deaf, deaf)
        gone = not await answers(self.site.redis_url)
        return {"deaf processes": self.deaf * gone}


async def clients_of(url: str) -> float:
    """How many connections others have. Raises RedisError."""
    async with Redis.from_url(url) as client:
        facts = await client.info("clients")
        return float(facts["connected_clients"]) - 1


async def answers(url: str) -> bool:
    """Whether it answers a ping at once."""
    try:
        async with Redis.from_url(
            url, socket_timeout=ASK_S, socket_connect_timeout=ASK_S
        ) as client:
            return bool(await client.ping())
    except (RedisError, OSError, TimeoutError):
        return False
