"""PostgreSQL that is frozen: stopped processes answer nothing, while the kernel confirms every packet.

On its own clock nothing times out then; that is what these tests are about.
"""

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence

import psutil
import pytest

from tests.scene import Psql


@contextlib.contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Stop these processes for as long as the block lasts; one that has just ended is passed over."""
    try:
        tell(signal.SIGSTOP, pids)
        yield
    finally:
        tell(signal.SIGCONT, pids)


def tell(number: signal.Signals, pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def backends(sql: Psql, application: str) -> list[int]:
    """The server's processes behind this application's connections; the test is skipped if it runs elsewhere."""
    rows = sql.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s",
        [application],
    )
    pids = [row[0] for row in rows]
    assert pids, f"{application} is not connected"
    if not all(_is_postgres(pid) for pid in pids):
        pytest.skip("PostgreSQL runs elsewhere: its processes can't be frozen from here")
    return pids


def cluster(postmaster: int) -> list[int]:
    """All processes of a server, the one that takes connections first."""
    return [postmaster, *(child.pid for child in psutil.Process(postmaster).children())]


def _is_postgres(pid: int) -> bool:
    try:
        return psutil.Process(pid).name() == "postgres"
    except psutil.Error:
        return False
