"""Names the resource that limited a run, and the next lever. Pure: figures in, one sentence out.

Every resource has a share of what it can give, from 0 to 1; the rules are data, in the order in which they
take precedence: when the generator itself was the limit, nothing else is known about the server.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from perf.measure.usage import Usage

FULL = 0.85  # of what a resource can give: beyond, queues grow faster than the load
GENERATOR_FULL = 0.9
LATE_MS = 20.0  # the worst send of an ordinary second: a generator that is later measures itself
OTHERS_FULL = 0.25  # of a core, taken by processes that are not part of the run
WAITING = 1.0  # backends that wait for a lock, on average


class Limit(NamedTuple):
    """A resource at its end: the share of it that was used, what it is, and what to do about it."""

    share: float
    resource: str
    lever: str

    def __str__(self) -> str:
        return f"{self.resource}. Next lever: {self.lever}."


def limiting(usage: Usage) -> str:
    """The limiting resource and the next lever, one sentence."""
    limit = limit_of(usage)
    if limit is not None:
        return f"Limited by {limit}"
    known = [one for one in (_server(usage), _postgres(usage), _machine(usage)) if one is not None]
    if not known:
        return "Nothing is known about the limiting resource: no processes and no services were sampled."
    if usage.server_percent is None:
        return (
            "Nothing is known about the limiting resource: no process of the server was found on this machine, "
            "where nothing was at its limit."
        )
    nearest = max(known)
    return (
        f"No resource was at its limit; nearest is {nearest.resource} ({100 * nearest.share:.0f} % of what it can give). "
        "Next lever: ask for more load."
    )


def limit_of(usage: Usage) -> Limit | None:
    """The limit that was reached; None if none was."""
    for rule in (_stolen, _generator, _others):
        if (limit := rule(usage)) is not None:
            return limit
    found = [limit for rule in RULES if (limit := rule(usage)) is not None and limit.share >= FULL]
    return max(found, key=lambda limit: limit.share) if found else None


def generator_was_the_bottleneck(usage: Usage) -> str | None:
    """Why the figures are the generator's and not the server's, in a sentence; None if they are not."""
    limit = _generator(usage)
    return limit.resource if limit is not None else None


def _generator(usage: Usage) -> Limit | None:
    lever = "more generator processes, or a machine of its own for the load"
    busiest = usage.generator_busiest_percent or 0
    if busiest / 100 >= GENERATOR_FULL:
        return Limit(
            busiest / 100,
            f"the load generator, whose busiest process took {busiest:.0f} % of a core",
            lever,
        )
    if (late := usage.generator_late_ms or 0) >= LATE_MS:
        return Limit(1.0, f"the load generator, which sent {late:.0f} ms later than planned", lever)
    return None


def _stolen(usage: Usage) -> Limit | None:
    """A virtual machine may not get what it could use: its kernel counts that as stolen."""
    stolen = (usage.stolen_percent or 0) / 100
    if stolen < OTHERS_FULL:
        return None
    return Limit(
        stolen,
        f"the host of this virtual machine, which gave {100 * stolen:.0f} % of a core to others",
        "measure again at another hour, or on a machine of its own",
    )


def _others(usage: Usage) -> Limit | None:
    """Foreign processes matter when they take what the run would have used."""
    others, total = (usage.others_percent or 0) / 100, _total(usage)
    if others < OTHERS_FULL or total is None or total / usage.cpus < FULL:
        return None
    return Limit(
        others,
        f"processes that are no part of the run: they took {100 * others:.0f} % of a core of a machine that was full",
        "measure again when they rest",
    )


def _server(usage: Usage) -> Limit | None:
    if (busiest := usage.server_busiest_percent) is None:
        return None
    return Limit(
        busiest / 100,
        f"the server's event loop: its busiest process took {busiest:.0f} % of a core",
        "one more process (--processes), then fewer frames per message",
    )


def _postgres(usage: Usage) -> Limit | None:
    if (busiest := usage.postgres_busiest_percent) is None:
        return None
    return Limit(
        busiest / 100,
        f"PostgreSQL: its busiest process took {busiest:.0f} % of a core",
        "fewer or cheaper statements per message (see the costs and the statements), larger batches",
    )


def _valkey(usage: Usage) -> Limit | None:
    if (used := usage.valkey_percent) is None:
        return None
    return Limit(
        used / 100, f"Valkey, which took {used:.0f} % of a core", "fewer, larger events on the bus"
    )


def _machine(usage: Usage) -> Limit | None:
    if (total := _total(usage)) is None:
        return None
    parts = {"server": usage.server_percent, "PostgreSQL": usage.postgres_percent, "Valkey": usage.valkey_percent,
             "generator": usage.generator_percent, "others": usage.others_percent}  # fmt: skip
    named = ", ".join(f"{name} {value:.0f}" for name, value in parts.items() if value)
    return Limit(
        total / usage.cpus,
        f"the CPUs of the machine: {100 * total:.0f} of {100 * usage.cpus} % were used ({named})",
        "more cores, or the load from another machine",
    )


def _disk(usage: Usage) -> Limit | None:
    """Commits wait for one another at the disk: the share of time that it spends being sure."""
    if usage.fsync_ms is None or usage.wal_syncs_per_s is None:
        return None
    return Limit(
        usage.fsync_ms * usage.wal_syncs_per_s / 1000,
        f"the disk: {usage.wal_syncs_per_s:.0f} syncs a second of {usage.fsync_ms:.1f} ms each",
        "more messages per commit, or a faster disk for the WAL",
    )


def _locks(usage: Usage) -> Limit | None:
    if usage.lock_waits is None or usage.lock_waits < WAITING:
        return None
    return Limit(
        usage.lock_waits,
        f"locks: {usage.lock_waits:.1f} database sessions waited for one at any moment",
        "see which statements wait (pg_locks), and take the lock later or for a shorter time",
    )


def _pool(usage: Usage) -> Limit | None:
    if usage.pool_waits is None or usage.pool_waits < WAITING:
        return None
    return Limit(
        usage.pool_waits,
        f"the connection pool: {usage.pool_waits:.1f} requests waited for a connection at any moment",
        "a larger pool if PostgreSQL has cores left, else fewer statements",
    )


def _memory(usage: Usage) -> Limit | None:
    if usage.memory_used_share is None:
        return None
    used = 100 * usage.memory_used_share
    return Limit(
        usage.memory_used_share,
        f"memory: {used:.0f} % of the machine's is used",
        "less memory per connection, or more of it",
    )


def _descriptors(usage: Usage) -> Limit | None:
    if usage.descriptors_share is None:
        return None
    used = 100 * usage.descriptors_share
    return Limit(
        usage.descriptors_share,
        f"file descriptors: {used:.0f} % of what a process may open are open",
        "raise the limit (ulimit -n), or use more processes",
    )


def _total(usage: Usage) -> float | None:
    """Cores that were busy; None if nobody looked."""
    parts = (usage.server_percent, usage.postgres_percent, usage.valkey_percent,
             usage.generator_percent, usage.others_percent)  # fmt: skip
    known = [value for value in parts if value is not None]
    return sum(known) / 100 if known else None


RULES: tuple[Callable[[Usage], Limit | None], ...] = (
    _server, _postgres, _valkey, _disk, _locks, _pool, _memory, _descriptors, _machine,
)  # fmt: skip
