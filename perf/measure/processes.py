"""What groups of processes use, second by second: CPU, memory, descriptors, sockets, threads.

Laws: the CPU of a group is also that of its members that have ended, which their parents inherit,
else a busy PostgreSQL whose backends come and go would look like foreign processes; what a process
may not be asked is left out, and nothing else with it. RSS counts shared pages in every process
that maps them; USS only what would come back if the group ended, and costs the kernel a walk.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import TypeAlias

import psutil

FIND_EVERY = 5  # looks: how often the members of a group are looked up anew
COUNT_EVERY = 5  # descriptors and sockets
USS_EVERY = 10
MANY_DESCRIPTORS = 5_000  # beyond, telling sockets from files would take milliseconds

STARTER = "generator"  # the group that starts the others: what it inherits is theirs

Group: TypeAlias = Callable[[], Iterable[psutil.Process]]
"""Finds the processes of a group as they are now."""


def cpu_s(name: str, members: Iterable[psutil.Process]) -> float:
    """CPU seconds so far of the group `name`, of its members that have ended, too (on Linux).

    The children of a group's own process must be members, else theirs come in when they end.
    """
    total = 0.0
    for process in members:
        with suppress(psutil.Error, OSError):
            times = process.cpu_times()
            total += times.user + times.system
            if name != STARTER:
                total += times.children_user + times.children_system
    return float(total)


@dataclass
class ProcessGroups:
    """A survey for `Series`: each call says what the groups used since the one before."""

    groups: Mapping[str, Group]
    _members: dict[str, list[psutil.Process]] = field(default_factory=dict)
    _group_s: dict[str, float] = field(default_factory=dict)
    _cpu_s: dict[int, float] = field(default_factory=dict)
    _machine_s: tuple[float, float] | None = None
    _at: float = 0.0
    _looks: int = 0

    def __call__(self) -> dict[str, float]:
        """Look at every group."""
        if self._looks % FIND_EVERY == 0:
            self._members = {name: list(find()) for name, find in self.groups.items()}
        now, used = perf_counter(), 0.0
        passed, first = now - self._at, self._machine_s is None
        found: dict[str, float] = {}
        for name, members in self._members.items():
            figures, busiest = self._of(members)
            spent = self._spent(name, members)
            used += spent
            if figures["processes"] and not first:  # who is not here is not idle
                figures["cpu_percent"] = round(100 * spent / passed, 1)
                figures["busiest_percent"] = round(100 * busiest / passed, 1)
            found |= {f"{name}.{figure}": value for figure, value in figures.items()}
        found |= self._others(used, passed)
        found["machine.memory_share"] = round(psutil.virtual_memory().percent / 100, 3)
        self._at, self._looks = now, self._looks + 1
        return found

    def _spent(self, name: str, members: Iterable[psutil.Process]) -> float:
        """CPU seconds of a group since the last look."""
        now = cpu_s(name, members)
        before, self._group_s[name] = self._group_s.get(name, now), now
        return max(now - before, 0.0)  # whoever ended a moment ago may not be inherited yet

    def _of(self, members: Iterable[psutil.Process]) -> tuple[dict[str, float], float]:
        """Figures of a group, and the CPU seconds of its busiest process since the last look."""
        total: dict[str, float] = {"processes": 0}
        busiest = 0.0
        for process in members:
            with suppress(psutil.Error, OSError):
                figures, spent = self._one(process)
                busiest = max(busiest, spent - self._cpu_s.get(process.pid, spent))
                self._cpu_s[process.pid] = spent
                for name, value in figures.items():
                    add = max if name.endswith("_share") else operator.add
                    total[name] = round(add(total.get(name, 0), value), 3)
        return total, busiest

    def _one(self, process: psutil.Process) -> tuple[dict[str, float], float]:
        with process.oneshot():
            times, memory = process.cpu_times(), process.memory_info()
            found: dict[str, float] = {
                "processes": 1,
                "threads": process.num_threads(),
                "rss_mb": memory.rss / 2**20,
            }
        # The rest is told to the process's owner, and to a root that may trace it.
        if self._looks % COUNT_EVERY == 0:
            with suppress(psutil.AccessDenied, OSError):
                found |= _descriptors(process)
        if self._looks % USS_EVERY == 0:
            with suppress(psutil.AccessDenied, OSError):
                found["uss_mb"] = process.memory_full_info().uss / 2**20
        return found, times.user + times.system

    def _others(self, used: float, passed: float) -> dict[str, float]:
        """The CPU of processes that are in no group, and what the machine's host took away."""
        busy, stolen = machine_s()
        before, self._machine_s = self._machine_s, (busy, stolen)
        if before is None:
            return {}
        return {
            "others.cpu_percent": round(100 * max(busy - before[0] - used, 0) / passed, 1),
            "machine.steal_percent": round(100 * max(stolen - before[1], 0) / passed, 1),
        }


def machine_s() -> tuple[float, float]:
    """CPU seconds so far of everything on this machine, and those that its host gave to others (steal)."""
    times = psutil.cpu_times()
    busy = times.user + times.nice + times.system + times.irq + times.softirq
    return float(busy), float(getattr(times, "steal", 0.0))


def _descriptors(process: psutil.Process) -> dict[str, float]:
    """How many descriptors are open, and how many of them are sockets (on Linux)."""
    count: float = process.num_fds()
    found = {"descriptors": count}
    if hasattr(process, "rlimit"):  # Linux
        found["descriptors_share"] = count / max(process.rlimit(psutil.RLIMIT_NOFILE)[0], 1)
    directory = f"/proc/{process.pid}/fd"
    if count > MANY_DESCRIPTORS or not os.path.isdir(directory):
        return found
    sockets = 0
    for name in os.listdir(directory):
        with suppress(OSError):
            sockets += os.readlink(f"{directory}/{name}").startswith("socket:")
    return found | {"sockets": sockets}
