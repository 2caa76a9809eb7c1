"""What a fault needs before its servers start: a host for the second one, a small disk, no Valkey. Undone afterwards."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from perf.faults import cluster, processes
from perf.faults.links import LOCAL
from perf.rig import hosts
from perf.rig.children import MARK, RigError
from perf.rig.disks import Disk
from perf.rig.environment import Environment
from perf.rig.hosts import Host
from perf.rig.keeper import Kept

TABLE_BYTES, WAL_BYTES = 64 << 20, 512 << 20  # far more than a run writes
MOVE = "ALTER TABLE messaging_message SET TABLESPACE {}"


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Where a fault takes place, beside what every fault has."""

    host: Host | None = None
    disk: Disk | None = None

    @property
    def address(self) -> str:
        """Where the second server reaches this machine."""
        return LOCAL if self.host is None else self.host.gateway


Lay: TypeAlias = Callable[[Environment], AbstractAsyncContextManager[Ground]]
"""Prepares for the time inside. Raises RigError."""


@asynccontextmanager
async def plain(place: Environment) -> AsyncIterator[Ground]:
    """Nothing."""
    yield Ground()


@asynccontextmanager
async def another_host(place: Environment) -> AsyncIterator[Ground]:
    """The second server gets a network of its own."""
    async with hosts.host(Path(place.env[MARK])) as one:
        yield Ground(host=one)


@asynccontextmanager
async def no_valkey(place: Environment) -> AsyncIterator[Ground]:
    """Valkey is killed, before the second server starts, and comes back when all is over."""
    kept = _kept(place)
    processes.kill([(await kept.revive()).valkey])
    try:
        yield Ground()
    finally:
        await kept.revive()


@asynccontextmanager
async def small_table_disk(place: Environment) -> AsyncIterator[Ground]:
    """The messages' table is in a tablespace on a small disk; its indexes stay where they are."""
    kept, url = _kept(place), str(place.database_url)
    disk = await _disk(url, TABLE_BYTES)
    async with _mounted(disk):
        where = disk.path / "table"
        where.mkdir()
        shutil.chown(where, disk.uid, disk.gid)
        async with await cluster.connect(url) as connection:
            await connection.execute(f"CREATE TABLESPACE small LOCATION '{where}'".encode())
            await connection.execute(MOVE.format("small").encode())
        try:
            yield Ground(disk=disk)
        finally:
            disk.free()
            await kept.revive()
            async with await cluster.connect(url) as connection:
                await connection.execute(MOVE.format("pg_default").encode())
                await connection.execute("DROP TABLESPACE small")


@asynccontextmanager
async def small_wal_disk(place: Environment) -> AsyncIterator[Ground]:
    """The write-ahead log is on a small disk."""
    kept = _kept(place)
    disk = await _disk(str(place.database_url), WAL_BYTES)
    wal = disk.path.with_name("postgres") / "pg_wal"
    async with _mounted(disk):
        await _moved(kept, wal, disk.path)
        try:
            yield Ground(disk=disk)
        finally:
            disk.free()
            await kept.revive()
            await _moved(kept, wal, None)


async def _moved(kept: Kept, wal: Path, to: Path | None) -> None:
    """Have the log `to` a directory, or (None) where it belongs again."""
    await cluster.stop(kept)
    await asyncio.to_thread(_move, wal, to)
    await kept.revive()


def _move(wal: Path, to: Path | None) -> None:
    draft = wal.with_name("pg_wal.draft")
    if to is None:
        _copy(wal.resolve(), draft)
        wal.unlink()
    else:
        _copy(wal, to)
        shutil.rmtree(wal)
        draft.symlink_to(to)
    draft.rename(wal)


def _copy(source: Path, to: Path) -> None:
    """Copy a directory's content with its owners."""
    done = subprocess.run(["cp", "-aT", source, to], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RigError(f"{source} could not be copied: {done.stderr.strip()}")


@asynccontextmanager
async def _mounted(disk: Disk) -> AsyncIterator[None]:
    disk.mount()
    try:
        yield
    finally:
        disk.unmount()


async def _disk(url: str, size: int) -> Disk:
    """A small disk beside PostgreSQL's data, of the same owner."""
    data = await cluster.data_directory(url)
    owner = data.stat()
    return Disk(path=data.with_name("small"), size=size, uid=owner.st_uid, gid=owner.st_gid)


def _kept(place: Environment) -> Kept:
    if place.kept is None:
        raise RigError("faults need a private environment: leave out --url")
    return place.kept
