"""What every test may use. Fixtures of one app are in that app's conftest."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from project import services
from tests.plugin import new_directory, remove

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """Hash passwords fast: no test is about the strength of a hash."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Count a long test as slow, too, so that the quick part leaves it out."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def database_url(services_directory: Path) -> str:
    """The address of a running PostgreSQL."""
    return os.environ["DATABASE_URL"]


@pytest.fixture(scope="session")
def redis_url(services_directory: Path) -> str:
    """The address of a running Valkey or Redis."""
    return os.environ["REDIS_URL"]


@pytest.fixture(scope="session")
def django_db_modify_db_settings(services_directory: Path) -> None:
    """Have the servers run before pytest-django makes its test database."""


@pytest.fixture
def private() -> Iterator[services.Services]:
    """A migrated PostgreSQL, and Valkey, of one test's own."""
    directory = new_directory()
    made = services.start(directory)
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "-v0"],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": made.database_url, "REDIS_URL": made.redis_url},
        check=True,
    )
    yield made
    remove(directory)
