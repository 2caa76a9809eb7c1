"""Gives a test run servers of its own: real ones, in a temporary directory, never those of `make run`.

pytest loads this before Django's settings, which is why it is no conftest. It only chooses the
addresses; the `services` fixture starts the servers when the first test needs them. With
DATABASE_URL or REDIS_URL set, that server is used instead. With `-n` each worker is such a run.
"""

import contextlib
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from unittest.mock import patch

import psutil
import pytest

from perf.rig import keep
from project import postgres, services

PREFIX = "lockstep-test-"
WORKER = os.environ.get(
    "PYTEST_XDIST_WORKER"
)  # its environment is the controller's: nothing was given
GIVEN = {name: "" if WORKER else os.environ.get(name, "") for name in ("DATABASE_URL", "REDIS_URL")}

# Tests start a hundred processes: without bytecode each compiles all of ours again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["HYPOTHESIS_NO_PLUGINS"] = "1"  # they are of others, and import trio in every process


def pytest_addoption() -> None:
    """Choose the directory and tell the settings its addresses."""
    directory = new_directory()
    places = services.locate(directory)
    os.environ["LOCKSTEP_DATA"] = str(directory)
    os.environ["DATABASE_URL"] = GIVEN["DATABASE_URL"] or places.database_url
    os.environ["REDIS_URL"] = GIVEN["REDIS_URL"] or places.redis_url


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what can't work, and clear away what earlier runs have left."""
    # A shell that runs us in the background has us ignore Ctrl-C, and so would the servers that tests end by it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if WORKER:
        return
    if config.getoption("numprocesses", None) and any(GIVEN.values()):
        raise pytest.UsageError(
            "-n gives each process servers of its own: unset DATABASE_URL and REDIS_URL, or leave -n out."
        )
    sweep()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Deal the files out to the processes of `-n` in turns of our own."""
    from tests.turns import Turns

    return Turns(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Hide what was imported and collected from the garbage collector, which would look at all of it each time.

    It lives as long as the run, and a whole look takes 0.15 s: longer than most modules' tests.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_unconfigure() -> None:
    """Stop the servers and leave nothing behind, whether they were started or not."""
    remove(Path(os.environ["LOCKSTEP_DATA"]))
    if not WORKER:
        sweep()  # a worker may have been killed


@pytest.fixture(scope="session")
def services_directory() -> Path:
    """The running servers' directory, for tests that stop them or look into their logs.

    Their PostgreSQL commits as the product's does, but does not wait for the disk: that would only
    help if the machine lost its power. Servers that a test starts for itself wait for it.
    """
    directory = Path(os.environ["LOCKSTEP_DATA"])
    if not all(GIVEN.values()):
        with patch.dict(postgres.OPTIONS, fsync="off"):
            keep.start(directory, directory)
    return directory


@contextlib.contextmanager
def migrated() -> Iterator[Path]:
    """The directory of a PostgreSQL with all tables, and of Valkey; they run until the block ends."""
    directory = new_directory()
    try:
        keep.start(directory, directory)
        yield directory
    finally:
        remove(directory)


def new_directory() -> Path:
    """An empty directory for servers; it is known by its name to be this process's."""
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir="/tmp"))


def sweep() -> None:
    """Remove what test runs that were killed have left; of two that do it at once each takes some."""
    for directory in Path("/tmp").glob(f"{PREFIX}*-*"):
        pid = directory.name.removeprefix(PREFIX).split("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)) and os.access(directory, os.W_OK):
            mine = new_directory()
            with contextlib.suppress(FileNotFoundError):
                directory.rename(mine)
            remove(mine)


def remove(directory: Path) -> None:
    """Stop the servers of `directory` and delete it."""
    services.stop(directory, delete=True)
    shutil.rmtree(directory, ignore_errors=True)
