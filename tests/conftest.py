"""What every test may use. Fixtures of one app are in that app's conftest."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connections
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis

from project import postgres, services
from tests.plugin import GIVEN, migrated

# Every run tries other examples, so many short ones find what one long one does. No example is too
# slow: that would tell of the machine. `make verify` says --hypothesis-profile=thorough.
STEADY = hypothesis(deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis.register_profile("quick", STEADY, max_examples=40)
hypothesis.register_profile("thorough", STEADY, max_examples=300)
hypothesis.load_profile("quick")

# What pytest-django does around every test for its markers, for mail, sites and unittest's classes: none is
# used here, and together they were most of what an empty test costs.
UNUSED = {
    "_dj_autoclear_mailbox",
    "_django_clear_site_cache",
    "_django_isolate_apps",
    "_django_set_urlconf",
    "_django_setup_unittest",
    "_fail_for_invalid_template_variable",
    "_live_server_helper",
    "_template_string_if_invalid_marker",
}
WITHOUT_DATABASE = UNUSED | {"_django_db_marker"}


def pytest_configure() -> None:
    """Hash passwords fast: no test is about the strength of a hash."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Count a long test as slow, too, so that the quick part leaves it out; and leave out what no test needs."""
    for item in items:
        needless = UNUSED if item.get_closest_marker("django_db") else WITHOUT_DATABASE
        names = item.fixturenames  # type: ignore[attr-defined]
        names[:] = [name for name in names if name not in needless]
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
    """Have the servers run before pytest-django makes its test database: of ours, a copy."""
    if not GIVEN["DATABASE_URL"]:
        connections["default"].settings_dict["TEST"]["TEMPLATE"] = postgres.NAME


@pytest.fixture
def private() -> Iterator[services.Services]:
    """A migrated PostgreSQL, and Valkey, of one test's own."""
    with migrated() as directory:
        yield services.locate(directory)
