"""What can go wrong, on purpose: the faults by name, as the command line knows them."""

from __future__ import annotations

from typing import Final

from perf.faults import network
from perf.faults.clients import Replay, StalledReader
from perf.faults.everything import EverythingKill
from perf.faults.fault import Known
from perf.faults.postgres import (
    Lock,
    PostgresFull,
    PostgresKill,
    PostgresPause,
    PostgresReadOnly,
    PostgresRestart,
)
from perf.faults.servers import ServerKill, ServerPause, ServerRestart
from perf.faults.valkey import ValkeyFlush, ValkeyKill, ValkeyPause

OF_PROCESSES: Final = (
    *(ServerKill, ServerPause, ServerRestart),
    *(ValkeyKill, ValkeyPause, ValkeyFlush),
    *(PostgresKill, PostgresPause, PostgresRestart, PostgresFull, PostgresReadOnly, Lock),
    *(EverythingKill, StalledReader, Replay),
)

ALL: Final[dict[str, Known]] = {
    **{one.name: Known(one.what, one.hold_s, one) for one in OF_PROCESSES},
    **network.ALL,
}
"""All of them by name."""
