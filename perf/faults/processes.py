"""Signals to a process and everything that it started; who has gone meanwhile is passed over."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import psutil

from perf.rig.environment import family


def kill(pids: Iterable[int]) -> None:
    """kill -9 of each and its family, parents first, so that nobody is started anew."""
    for process in [one for pid in pids for one in family(pid)]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


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
