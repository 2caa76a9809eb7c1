"""What can go wrong, on purpose: the faults by name, as the command line knows them."""

from __future__ import annotations

from typing import Final

from perf.faults import network
from perf.faults.clients import Replay, StalledReader
from perf.faults.everything import EverythingKill
from perf.faults.fault import Make
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

ALL: Final[dict[str, tuple[str, Make]]] = {
    **{one.name: (one.what, one) for one in OF_PROCESSES},
    **network.ALL,
}
"""By name: what it does, in a sentence, and how it is made for a site."""
