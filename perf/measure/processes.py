"""What groups of processes use, second by second: CPU, memory, descriptors, sockets, threads.

RSS counts shared pages in every process that maps them, so PostgreSQL's is far above what it
takes; USS counts only what would come back if the group ended. USS and the descriptors cost the
kernel a walk, so they are looked up less often.
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

Group: TypeAlias = Callable[[], Iterable[psutil.Process]]
"""Finds the processes of a group as they are now."""


@dataclass
class ProcessGroups:
    """A survey for `Series`: each call says what the groups used since the one before."""

    groups: Mapping[str, Group]
    _members: dict[str, list[psutil.Process]] = field(default_factory=dict)
    _cpu_s: dict[int, float] = field(default_factory=dict)
    _machine_s: float | None = None
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
            figures, spent, busiest = self._of(members)
            used += spent
            if not first:
                figures["cpu_percent"] = round(100 * spent / passed, 1)
                figures["busiest_percent"] = round(100 * busiest / passed, 1)
            found |= {f"{name}.{figure}": value for figure, value in figures.items()}
        found |= self._others(used, passed)
        found["machine.memory_share"] = round(psutil.virtual_memory().percent / 100, 3)
        self._at, self._looks = now, self._looks + 1
        return found

    def _of(self, members: Iterable[psutil.Process]) -> tuple[dict[str, float], float, float]:
        """Figures of a group, and the CPU seconds since the last look: of all, of the busiest."""
        total: dict[str, float] = {"processes": 0}
        spent = busiest = 0.0
        for process in members:
            with suppress(psutil.Error, OSError):
                figures, cpu_s = self._one(process)
                passed = cpu_s - self._cpu_s.get(process.pid, cpu_s)
                spent, busiest = spent + passed, max(busiest, passed)
                self._cpu_s[process.pid] = cpu_s
                for name, value in figures.items():
                    add = max if name.endswith("_share") else operator.add
                    total[name] = round(add(total.get(name, 0), value), 3)
        return total, spent, busiest

    def _one(self, process: psutil.Process) -> tuple[dict[str, float], float]:
        with process.oneshot():
            times, memory = process.cpu_times(), process.memory_info()
            found: dict[str, float] = {
                "processes": 1,
                "threads": process.num_threads(),
                "rss_mb": memory.rss / 2**20,
            }
        if self._looks % COUNT_EVERY == 0:
            found |= _descriptors(process)
        if self._looks % USS_EVERY == 0:
            found["uss_mb"] = process.memory_full_info().uss / 2**20
        return found, times.user + times.system

    def _others(self, used: float, passed: float) -> dict[str, float]:
        """The CPU of processes that are in no group."""
        times = psutil.cpu_times()
        busy = times.user + times.nice + times.system + times.irq + times.softirq
        before, self._machine_s = self._machine_s, busy
        if before is None:
            return {}
        return {"others.cpu_percent": round(100 * max(busy - before - used, 0) / passed, 1)}


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
