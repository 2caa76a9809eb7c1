"""A database that a module's tests share, a foreign writer, and the engine of one test's loop."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from django.core.management import call_command

from messaging import engine as engines
from messaging.engine import Engine
from tests import scene


@pytest.fixture(scope="module")
def shared_database(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The test database, emptied after the module: emptying it after each test would cost most.

    Modules that use it say `pytestmark = pytest.mark.django_db`, so that the database is made; the
    transaction which that opens is the ORM's alone, and nothing here uses the ORM.
    """
    yield
    with django_db_blocker.unblock():
        call_command("flush", interactive=False, verbosity=0)


@pytest.fixture
def sql(shared_database: None) -> Iterator[scene.Psql]:
    """A foreign writer and reader: plain SQL, autocommit."""
    with scene.connect() as connection:
        yield connection


@pytest.fixture
async def engine(shared_database: None) -> AsyncIterator[Engine]:
    """Journal, receipts, hub and roster in this test's loop."""
    yield await engines.running()
    await engines.shut_down()
