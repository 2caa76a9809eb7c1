"""A database, a foreign writer and an engine that a module's tests share."""

import contextlib
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

import psycopg
import pytest
from django.db import connection, transaction

from messaging import engine as engines
from messaging.consumers import DeviceConsumer
from messaging.engine import Engine
from presence import database
from tests import scene
from tests.device import Device, InProcess
from tests.peer import Peer
from tests.scene import Seat


class Attach(Protocol):
    """Connects a device, or a new one of this seat; keywords go into its hello."""

    async def __call__(self, who: Seat | Device, *, acks: bool = True, **hello: Any) -> Device: ...


LEFT_S = 0.25  # for what a test's end has begun
KEPT = {"django_migrations", "django_content_type", "auth_permission", "messaging_epoch"}


def empty() -> None:
    """Delete every row that a test can have made, in 3 ms where Django's flush takes 150.

    As a replica: no trigger makes tombstones of messages, and no foreign key asks for an order.
    """
    tables = set(connection.introspection.django_table_names()) - KEPT
    deletes = "".join(f"DELETE FROM {name};" for name in sorted(tables))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL session_replication_role = replica; {deletes}")


@pytest.fixture
def transactional_db(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """pytest-django's, with a cheaper end: what the test writes is committed, and deleted after it."""
    with django_db_blocker.unblock():
        yield
        empty()


@pytest.fixture(scope="module")
def shared_database(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The test database, emptied after the module, for tests whose processes outlive one of them.

    Modules that use it say `pytestmark = pytest.mark.django_db`, so that the database is made; the
    transaction which that opens is the ORM's alone, and nothing here uses the ORM.
    """
    yield
    gc.collect()  # psycopg leaves a connection that was cancelled while it opened to the collector
    with django_db_blocker.unblock():
        empty()


@pytest.fixture(scope="module")
def hand(django_db_setup: None) -> Iterator[Callable[[], scene.Psql]]:
    """A foreign session, the same for every test if it is none the worse: a new one's first INSERT takes 15 ms."""
    kept: list[scene.Psql] = []

    def lend() -> scene.Psql:
        if not kept or not as_new(kept[0]):
            kept[:] = [scene.connect()]
        return kept[0]

    yield lend
    for session in kept:
        session.close()


def as_new(session: scene.Psql) -> bool:
    """Take back what a test has set in this session; False if it was ended."""
    try:
        session.rollback()
        session.execute("UNLISTEN *; RESET ALL; SELECT pg_advisory_unlock_all()")
    except psycopg.Error:
        session.close()
        return False
    return True


@pytest.fixture
def sql(shared_database: None, hand: Callable[[], scene.Psql]) -> scene.Psql:
    """A foreign writer and reader: plain SQL, autocommit."""
    return hand()


@pytest.fixture(scope="module")
async def ending(shared_database: None) -> AsyncIterator[None]:
    """Stops the engine when the module's tests are through."""
    yield
    await engines.shut_down()


@pytest.fixture
async def engine(ending: None) -> AsyncIterator[Engine]:
    """Journal, receipts, hub and roster of a process, the same for every test of a module if it is none the worse.

    A new one opens seven connections, and the first statements of each cost its database 10 ms.
    """
    engine = await engines.running()
    yield engine
    if not await is_as_new(engine):
        await engines.shut_down()


async def is_as_new(engine: Engine) -> bool:
    """Whether nothing is left of a test, once what is on its way has ended."""

    def idle() -> bool:
        hub = engine.hub
        left = engine.roster.sessions or hub.topics or hub.people.users or engine.journal.queued
        return not left and not hub.bus.deaf

    with contextlib.suppress(AssertionError):
        await scene.eventually(idle, within=LEFT_S)
    breakers = engine.journal.breaker, database.breaker
    sound = engine.roster.alive and all(breaker.state == "closed" for breaker in breakers)
    return idle() and sound and not engine.draining


@pytest.fixture
async def new_engine(ending: None) -> AsyncIterator[None]:
    """For tests of how an engine starts or ends: there is none yet, and none afterwards."""
    await engines.shut_down()
    yield
    await engines.shut_down()


@pytest.fixture
async def attach(engine: Engine) -> AsyncIterator[Attach]:
    """Connects devices to this process's engine, each through a real consumer without a network."""
    devices: list[Device] = []

    async def attach(who: Seat | Device, *, acks: bool = True, **hello: Any) -> Device:
        device = who if isinstance(who, Device) else Device(who.token, acks=acks)
        devices.append(device)
        return await device.connect(InProcess(DeviceConsumer()), **hello)

    yield attach
    for device in devices:
        await device.cut()
        assert device.violations == []


@pytest.fixture(scope="module")
def peer(shared_database: None, redis_url: str) -> Iterator[Peer]:
    """A second server process on the same database and the same bus."""
    with Peer(database_url=scene.database_url(), redis_url=redis_url) as process:
        yield process
