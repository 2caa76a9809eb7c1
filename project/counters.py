"""The files in which server processes count, so that each of them can tell of all.

Law: a file has all its blocks before anybody counts in it. prometheus_client maps files with holes, and a hole for
which a full disk has no block is SIGBUS: uploads that fill the place of temporary files would end every process,
and each that takes its place.
"""

import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

from project import daemons
from project.errors import ServiceError

logger = logging.getLogger(__name__)

VARIABLE = (
    "PROMETHEUS_MULTIPROC_DIR"  # names the directory; prometheus_client looks when it is imported
)
PREFIX = "lockstep-metrics-"  # then the supervisor's process number
KINDS = (
    "counter",
    "histogram",
    "gauge_livesum",
    "gauge_livemax",
)  # as prometheus_client names them
HEAD_BYTES = 8  # of a file in which nothing was counted
FILE_BYTES = 2**19  # the histograms with every label that they can have take 300 kB


def directory() -> "tempfile.TemporaryDirectory[str]":
    """A directory for the processes of this supervisor, gone when it is left. Raises ServiceError."""
    try:
        clear()
        return tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-")
    except OSError as error:
        raise ServiceError(
            f"No temporary directory can be made: {error.strerror}. Make room there, or set TMPDIR to another place."
        ) from None


def clear() -> None:
    """Remove what supervisors that were killed have left."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        owner = left.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdecimal() and not daemons.alive(int(owner)):
            shutil.rmtree(left, ignore_errors=True)  # another user's stays


def reserve() -> None:
    """Make the files of this process. Without room for them it counts for itself alone: that ends nobody."""
    place = os.environ.get(VARIABLE)
    if place is None:
        return
    draft = Path(place, f"draft-{os.getpid()}")  # others read whatever is called .db
    try:
        for kind in KINDS:
            file = Path(place, f"{kind}_{os.getpid()}.db")
            counted = file.read_bytes() if file.exists() else b""  # by one that had our number
            draft.write_bytes(counted.ljust(FILE_BYTES, b"\0"))
            draft.rename(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        del os.environ[VARIABLE]
        said = (
            "no room for the counters of process %s in %s (%s): its /metrics tells of itself alone"
        )
        logger.warning(said, os.getpid(), place, error.strerror)


def forget(process: int, place: str) -> None:
    """A process has ended: its gauges count no more; what it counted stays, and takes no more room than it needs."""
    for file in Path(place).glob(f"*_{process}.db"):
        if file.name.startswith("gauge_live"):
            file.unlink()
        else:
            with file.open("r+b") as counted:  # it begins with how many bytes are used
                counted.truncate(max(int.from_bytes(counted.read(4), sys.byteorder), HEAD_BYTES))
