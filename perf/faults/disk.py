"""A full disk under PostgreSQL: ENOSPC where the messages' table grows, or where the log does.

The first is an error of each write, the second ends PostgreSQL (PANIC), which can't come back before
there is room.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psycopg

from perf.faults.cluster import connect, data_directory
from perf.faults.fault import Site
from perf.faults.postgres import Unserved
from perf.rig.children import RigError
from perf.rig.disks import Disk

NO_SPACE = b"No space left on device"  # how PostgreSQL's log says ENOSPC
SWITCHES = 40  # segments that may be there already, to be used up
# A segment that is as good as empty is not switched: something has to be in it.
SWITCH = "SELECT pg_logical_emit_message(false, 'lockstep', 'perf'), pg_switch_wal()"


class DiskFullTable(Unserved):
    """No room for the table of messages."""

    name = "disk-full-table"
    what = "the disk with the messages' table is full: ENOSPC for whatever makes it longer"
    hold_s = (6.0, 10.0)

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._logs: list[Path] = []
        self._said = 0

    async def begin(self) -> None:
        """Fill it."""
        data = await data_directory(self.site.database_url)
        self._logs = [data.with_name(name) for name in ("postgres.log", "postgres.log.old")]
        self._said = self._refused()
        self._disk.fill()

    async def end(self) -> None:
        """Make room, and start PostgreSQL if it has ended."""
        self._disk.free()
        await self.site.kept.revive()

    async def felt(self) -> dict[str, float]:
        """What PostgreSQL could not write, by its own log; who else noticed."""
        return {"writes without room": float(self._refused() - self._said), **await super().felt()}

    def _refused(self) -> int:
        return sum(log.read_bytes().count(NO_SPACE) for log in self._logs if log.exists())

    @property
    def _disk(self) -> Disk:
        if self.site.ground.disk is None:
            raise RigError(f"{self.name} needs a small disk under PostgreSQL")
        return self.site.ground.disk


class DiskFullWal(DiskFullTable):
    """No room for the log."""

    name = "disk-full-wal"
    what = "the disk with PostgreSQL's write-ahead log is full: ENOSPC, and it ends until there is room"

    async def begin(self) -> None:
        """Fill it, and use up the segments that were made ahead."""
        await super().begin()
        with suppress(psycopg.OperationalError):  # it ends while we ask: that is the fault
            async with await connect(self.site.database_url) as connection:
                for _ in range(SWITCHES):
                    await connection.execute(SWITCH)
