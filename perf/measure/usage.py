"""What a run used of each resource while it was under load, gathered from its series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

LEAST_SAMPLES = 3


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a run used while it was busiest. CPU in % of a core; None where nobody looked."""

    cpus: int = 1
    server_percent: float | None = None
    server_busiest_percent: float | None = None
    postgres_percent: float | None = None
    postgres_busiest_percent: float | None = None
    valkey_percent: float | None = None
    generator_percent: float | None = None
    generator_busiest_percent: float | None = None
    generator_late_ms: float | None = None
    others_percent: float | None = None
    stolen_percent: float | None = None
    fsync_ms: float | None = None
    wal_syncs_per_s: float | None = None
    lock_waits: float | None = None
    pool_waits: float | None = None
    memory_used_share: float | None = None
    descriptors_share: float | None = None


def usage_of(lines: Sequence[Mapping[str, Any]], *, cpus: int) -> Usage:
    """What the series says, at the 90th percentile of its seconds under load: what lasted, without the odd peak."""
    busy = _under_load(lines)
    return Usage(
        cpus=cpus,
        server_percent=_lasting(busy, "server.cpu_percent"),
        server_busiest_percent=_lasting(busy, "server.busiest_percent"),
        postgres_percent=_lasting(busy, "postgres.cpu_percent"),
        postgres_busiest_percent=_lasting(busy, "postgres.busiest_percent"),
        valkey_percent=_lasting(busy, "valkey.cpu_percent"),
        generator_percent=_lasting(busy, "generator.cpu_percent"),
        generator_busiest_percent=_lasting(busy, "generator.busiest_percent"),
        generator_late_ms=_middle(busy, "generator.late_ms"),
        others_percent=_lasting(busy, "others.cpu_percent"),
        stolen_percent=_lasting(busy, "machine.steal_percent"),
        fsync_ms=_lasting(lines, "postgres.fsync_ms"),
        wal_syncs_per_s=_lasting(busy, "postgres.wal_syncs"),
        lock_waits=_mean(busy, "postgres.lock_waits"),
        pool_waits=_mean(busy, "server.pool_waiting"),
        memory_used_share=_lasting(busy, "machine.memory_share"),
        descriptors_share=_most(busy, "server.descriptors_share", "generator.descriptors_share"),
    )


def _under_load(lines: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The lines while messages were sent; all of them if none says so."""
    sending = [line for line in lines if line.get("load.sent") or line.get("load.acked")]
    return sending if len(sending) >= LEAST_SAMPLES else lines


def _values(lines: Iterable[Mapping[str, Any]], name: str) -> list[float]:
    return sorted(float(line[name]) for line in lines if name in line)


def _lasting(lines: Iterable[Mapping[str, Any]], name: str) -> float | None:
    values = _values(lines, name)
    return values[min(len(values) * 9 // 10, len(values) - 1)] if values else None


def _middle(lines: Iterable[Mapping[str, Any]], name: str) -> float | None:
    values = _values(lines, name)
    return values[len(values) // 2] if values else None


def _mean(lines: Iterable[Mapping[str, Any]], name: str) -> float | None:
    values = _values(lines, name)
    return sum(values) / len(values) if values else None


def _most(lines: Sequence[Mapping[str, Any]], *names: str) -> float | None:
    known = [value for name in names if (value := _lasting(lines, name)) is not None]
    return max(known) if known else None
