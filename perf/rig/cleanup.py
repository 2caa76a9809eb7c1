"""What runs leave that did not end in peace: their processes, their services, their directories.

Every run works in a directory of its own, claimed by the process of its rig; every child carries
the directory's name in its environment. So what belongs to a rig that lives no more is found,
and nothing else is touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import time

import msgspec
import psutil

from perf.rig.children import MARK, ROOT

PREFIX = "lockstep-perf-"
CLAIM = "rig.json"
ADDRESSES = "addresses.json"
UNCLAIMED_S = 60.0  # a directory so young may be about to be claimed
END_S = 10.0

# Stops PostgreSQL and Valkey of a directory, whoever started them, and removes all that is there.
CLEAR = "import pathlib, sys; from perf.rig import keep; keep.clear(pathlib.Path(sys.argv[1]))"


class Rig(msgspec.Struct, frozen=True, kw_only=True):
    """The process that a directory belongs to; a pid alone would come round again."""

    pid: int
    started: float

    @property
    def lives(self) -> bool:
        """Whether it is still there."""
        try:
            return abs(psutil.Process(self.pid).create_time() - self.started) < 1
        except psutil.NoSuchProcess:
            return False


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """The directory of a run whose rig is gone, and the processes that are of it."""

    directory: Path
    processes: tuple[psutil.Process, ...]


@contextmanager
def workplace() -> Iterator[Path]:
    """A directory for a run's services and children; gone afterwards, as far as this process can."""
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        claim(directory)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def claim(directory: Path) -> None:
    """Say that a directory is this process's."""
    rig = Rig(pid=os.getpid(), started=psutil.Process().create_time())
    (directory / CLAIM).write_bytes(msgspec.json.encode(rig))


def note_addresses(directory: Path, addresses: bytes) -> None:
    """Say which database and bus were made for this directory."""
    (directory / ADDRESSES).write_bytes(addresses)


def addresses_of(directory: Path) -> dict[str, str]:
    """The database and the bus that were made for this directory, by their variables; empty if none."""
    try:
        return msgspec.json.decode((directory / ADDRESSES).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError):
        return {}


def places() -> list[Path]:
    """The directories of all runs of this machine, whether their rigs live or not."""
    return list(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))


def leftovers() -> list[Leftover]:
    """What is left of runs whose rig is gone."""
    marked: dict[Path, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        if name := _mark(process):
            marked.setdefault(Path(name), []).append(process)
    return [
        Leftover(directory=place, processes=tuple(marked.get(place, ())))
        for place in sorted({*places(), *marked})
        if not in_use(place)
    ]


def remove(leftover: Leftover) -> None:
    """End the processes, stop the services, delete the directory. Raises OSError."""
    end_processes(leftover.directory)
    if leftover.directory.is_dir():
        command = [sys.executable, "-c", CLEAR, str(leftover.directory)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            words = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise OSError(f"the services of {leftover.directory} could not be stopped: {words}")


def end_processes(directory: Path) -> int:
    """Kill every process that is of this directory, except this one; return how many there were."""
    ours = [one for one in psutil.process_iter() if _mark(one) == str(directory)]
    ours = [one for one in ours if one.pid != os.getpid()]
    for process in ours:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(ours, timeout=END_S)
    return len(ours)


def _mark(process: psutil.Process) -> str:
    """The directory that a process is of; nothing for others, and for those we may not look into."""
    try:
        return process.environ().get(MARK, "")
    except (psutil.Error, OSError):
        return ""


def in_use(place: Path) -> bool:
    """Whether the rig that claimed this directory lives; a very young one may be claimed yet."""
    try:
        return msgspec.json.decode((place / CLAIM).read_bytes(), type=Rig).lives
    except (OSError, msgspec.DecodeError):
        return place.exists() and time() - place.stat().st_mtime < UNCLAIMED_S
