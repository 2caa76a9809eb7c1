"""The run's PostgreSQL as faults deal with it: connections of the rig's own, where its data is, its end."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import psutil
import psycopg

from perf.rig.database import Connection
from perf.rig.environment import family
from perf.rig.keeper import Kept

OURS = "lockstep perf"  # how the rig's own connections call themselves
ENDED_S = 20.0


async def stop(kept: Kept) -> None:
    """End PostgreSQL fast (SIGINT), and wait until it has ended. Raises RigError."""
    backends = family((await kept.revive()).postgres)
    backends[0].send_signal(signal.SIGINT)
    await asyncio.to_thread(psutil.wait_procs, backends, timeout=ENDED_S)


async def data_directory(url: str) -> Path:
    """Where its data is. Raises psycopg.OperationalError."""
    async with await connect(url) as connection:
        row = await (await connection.execute("SHOW data_directory")).fetchone()
    assert row is not None
    return Path(row[0])


async def connect(url: str) -> Connection:
    """A connection of the rig's own, in autocommit. Raises psycopg.OperationalError."""
    return await psycopg.AsyncConnection.connect(
        url, autocommit=True, application_name=OURS, connect_timeout=10
    )
