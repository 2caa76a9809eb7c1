"""What can go wrong, on purpose: the faults by name, as the command line knows them."""

from __future__ import annotations

from typing import Final

from perf.faults import ground, nemesis, network
from perf.faults.clients import Replay, StalledReader
from perf.faults.disk import DiskFullTable, DiskFullWal
from perf.faults.everything import EverythingKill
from perf.faults.fault import Known
from perf.faults.hosts import HostCut, HostLost
from perf.faults.postgres import (
    Lock,
    PostgresFull,
    PostgresKill,
    PostgresPause,
    PostgresReadOnly,
    PostgresRestart,
)
from perf.faults.servers import ServerKill, ServerPause, ServerRestart
from perf.faults.valkey import ValkeyFlush, ValkeyGone, ValkeyKill, ValkeyPause
from perf.rig import disks, hosts

OF_PROCESSES: Final = (
    *(ServerKill, ServerPause, ServerRestart),
    *(ValkeyKill, ValkeyPause, ValkeyFlush),
    *(PostgresKill, PostgresPause, PostgresRestart, PostgresFull, PostgresReadOnly, Lock),
    *(EverythingKill, StalledReader, Replay),
)
ANYWHERE: Final[dict[str, Known]] = {
    **{one.name: Known(one.what, one.hold_s, one) for one in OF_PROCESSES},
    **network.ALL,
}


PREPARED: Final[dict[str, Known]] = {
    ValkeyGone.name: Known(ValkeyGone.what, ValkeyGone.hold_s, ValkeyGone, lay=ground.no_valkey),
    DiskFullTable.name: Known(
        *(DiskFullTable.what, DiskFullTable.hold_s, DiskFullTable),
        lay=ground.small_table_disk,
        why_not=disks.why_not,
    ),
    DiskFullWal.name: Known(
        *(DiskFullWal.what, DiskFullWal.hold_s, DiskFullWal),
        lay=ground.small_wal_disk,
        why_not=disks.why_not,
    ),
    HostCut.name: Known(
        HostCut.what, HostCut.hold_s, HostCut, lay=ground.another_host, why_not=hosts.why_not
    ),
    HostLost.name: Known(
        HostLost.what, HostLost.hold_s, HostLost, lay=ground.another_host, why_not=hosts.why_not
    ),
}

ALL: Final[dict[str, Known]] = {
    **ANYWHERE,
    **PREPARED,
    nemesis.NAME: nemesis.known(ANYWHERE),
}
"""All of them by name."""
