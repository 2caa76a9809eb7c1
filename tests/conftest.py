"""What every test may use. Fixtures of one app are in that app's conftest."""

import os
from pathlib import Path

import pytest
from django.conf import settings


def pytest_configure() -> None:
    """Hash passwords fast: no test is about the strength of a hash."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


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
