"""What figures depend on: the machine, its load, the versions of everything, the commit."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from perf.rig.children import ROOT
from perf.rig.database import connected


def facts() -> dict[str, Any]:
    """The machine, its load at this moment, and what we run of."""
    return {
        "cpus": os.cpu_count() or 0,
        "cpu": cpu_name(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": f"{os.getloadavg()[0]:.2f}",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "commit": commit(),
    }


async def services(addresses: Mapping[str, str]) -> dict[str, str]:
    """The versions of PostgreSQL and Valkey (or Redis) there; what does not answer is left out."""
    found: dict[str, str] = {}
    with suppress(psycopg.Error, KeyError):
        async with connected(addresses["DATABASE_URL"]) as connection:
            row = await (await connection.execute("SHOW server_version")).fetchone()
            found["postgres"] = str(row[0]) if row else ""
    with suppress(RedisError, OSError, KeyError):
        async with Redis.from_url(addresses["REDIS_URL"], socket_timeout=5) as client:
            told: dict[str, Any] = await client.info("server")
            name = "valkey" if "valkey_version" in told else "redis"
            found[name] = str(told[f"{name}_version"])
    return found


def cpu_name() -> str:
    """The processor's model, as far as the system tells."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    """The commit that runs, with a + if files differ from it; nothing outside of a repository."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "--no-optional-locks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return done.stdout.strip()
