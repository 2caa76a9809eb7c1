"""The bus's server, killed or frozen for as long as a block lasts."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from project import daemons, services, valkey


@contextlib.contextmanager
def without_valkey(directory: Path) -> Iterator[None]:
    """Kill the server of these services; start it again at the end."""
    home = services.locate(directory).home
    daemons.stop(
        _pid(directory), signal.SIGKILL
    )  # gone when it returns: who dies is adopted by the next start
    try:
        yield
    finally:
        valkey.start(home)


@contextlib.contextmanager
def partitioned_from_valkey(directory: Path) -> Iterator[None]:
    """Freeze it: its connections stay open, and nothing is answered or refused."""
    pid = _pid(directory)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _pid(directory: Path) -> int:
    pid = valkey.pid(services.locate(directory).home)
    assert pid is not None
    return pid
