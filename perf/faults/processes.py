"""Signals to a process and everything that it started; who has gone meanwhile is passed over."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress

import psutil

from perf.rig.environment import family

DEAD_S = 5.0  # for the kernel to end what was killed
LOOK_S = 0.005


def kill(pids: Iterable[int]) -> None:
    """kill -9 of each and its family, parents first, so that nobody is started anew; returns when they are dead."""
    killed = [one for pid in pids for one in family(pid)]
    for process in killed:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    deadline = time.monotonic() + DEAD_S
    while any(_lives(process) for process in killed) and time.monotonic() < deadline:
        time.sleep(LOOK_S)


def _lives(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended and was not collected does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def suspend(pid: int) -> None:
    """SIGSTOP of a process and its family."""
    for process in family(pid):
        with suppress(psutil.NoSuchProcess):
            process.suspend()


def resume(pid: int) -> None:
    """SIGCONT of a process and its family."""
    for process in family(pid):
        with suppress(psutil.NoSuchProcess):
            process.resume()
