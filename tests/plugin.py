"""Gives a test run servers of its own: real ones, in a temporary directory, never those of `make run`.

pytest loads this before Django's settings, which is why it is no conftest. It only chooses the
addresses; the `services` fixture starts the servers when the first test needs them. With
DATABASE_URL or REDIS_URL set, that server is used instead.
"""

import os
import shutil
import tempfile
from pathlib import Path
from unittest.mock import patch

import psutil
import pytest

from project import postgres, services

PREFIX = "lockstep-test-"
GIVEN = {name: os.environ.get(name, "") for name in ("DATABASE_URL", "REDIS_URL")}


def pytest_addoption() -> None:
    """Choose the directory and tell the settings its addresses."""
    directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir="/tmp"))
    places = services.locate(directory)
    os.environ["LOCKSTEP_DATA"] = str(directory)
    os.environ["DATABASE_URL"] = GIVEN["DATABASE_URL"] or places.database_url
    os.environ["REDIS_URL"] = GIVEN["REDIS_URL"] or places.redis_url


def pytest_unconfigure() -> None:
    """Stop the servers and leave nothing behind, whether they were started or not."""
    remove(Path(os.environ["LOCKSTEP_DATA"]))


@pytest.fixture(scope="session")
def services_directory() -> Path:
    """The running servers' directory, for tests that stop them or look into their logs.

    Their PostgreSQL commits as the product's does, but does not wait for the disk: that would only
    help if the machine lost its power. Servers that a test starts for itself wait for it.
    """
    sweep()
    directory = Path(os.environ["LOCKSTEP_DATA"])
    if not all(GIVEN.values()):
        with patch.dict(postgres.OPTIONS, fsync="off"):
            services.start(directory)
    return directory


def sweep() -> None:
    """Remove what test runs that were killed have left."""
    for directory in Path("/tmp").glob(f"{PREFIX}*-*"):
        pid = directory.name.removeprefix(PREFIX).split("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)) and os.access(directory, os.W_OK):
            remove(directory)


def remove(directory: Path) -> None:
    """Stop the servers of `directory` and delete it."""
    services.stop(directory, delete=True)
    shutil.rmtree(directory, ignore_errors=True)
