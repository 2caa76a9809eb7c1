"""A small world in a real database, a foreign writer beside the ORM, an ear for NOTIFY, and a storage of files."""

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.test import override_settings
from redis import Redis

from messaging.journal.batching import BATCH_ROWS
from messaging.journal.journal import Journal
from messaging.models import Conversation, Membership, Message, Receipt
from presence.models import Device, User
from presence.tokens import new_token
from tests import scene
from tests.ear import listening
from tests.integration.messaging.person import Person
from tests.scene import Psql, Room

WRITERS = 4


def connect(**overrides: Any) -> psycopg.Connection[Any]:
    """A connection of its own to the test database, as psql would open it."""
    params = connection.get_connection_params() | overrides
    for ours in ("cursor_factory", "context", "prepare_threshold"):
        params.pop(ours, None)
    return psycopg.connect(**params, autocommit=True)


@pytest.fixture
def valkey(redis_url: str) -> Iterator[Redis]:
    """A client of the server behind the channel layer."""
    with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def psql(transactional_db: None, hand: Callable[[], Psql]) -> Psql:
    """A foreign writer: plain SQL, autocommit."""
    return hand()


@pytest.fixture
def heard(psql: Psql) -> Iterator[Callable[[], list[str]]]:
    """What was notified since the last call, sorted; every committed write before it is included."""
    with connect() as ear, listening(ear, psql) as collect:
        yield collect


@pytest.fixture
def at_once(transactional_db: None) -> Callable[[Callable[[psycopg.Connection[Any]], None]], None]:
    """Run one function in several threads, each with a session of its own; raises what one raised."""

    def run_all(write: Callable[[psycopg.Connection[Any]], None]) -> None:
        sessions = [connect() for _ in range(WRITERS)]
        try:
            with ThreadPoolExecutor(WRITERS) as pool:
                list(pool.map(write, sessions))
        finally:
            for session in sessions:
                session.close()

    return run_all


@dataclass(frozen=True, kw_only=True)
class World:
    """Ann is in the room with one device and said "hello"; Bob is outside and has one device.

    The room's numbers: 1 Ann joined, 2 "hello" (`message`).
    """

    room: Conversation
    ann: User
    bob: User
    stay: Membership
    device: Device
    message: Message
    receipt: Receipt

    def groups(self, *names: str) -> list[str]:
        """Group names of "room", "ann" and "bob", sorted."""
        known = {
            "room": f"conversation.{self.room.pk}",
            "ann": f"user.{self.ann.pk}",
            "bob": f"user.{self.bob.pk}",
        }
        return sorted(known[name] for name in names)

    def numbers(self) -> list[int]:
        """The numbers of the room's messages, ascending."""
        return sorted(self.room.messages.values_list("seq", flat=True))


def new_device(user: User, *, name: str = "phone") -> Device:
    return Device.objects.create(
        user=user, installation=str(uuid4()), name=name, token_hash=new_token()[1]
    )


@pytest.fixture
def world(transactional_db: None) -> World:
    room = Conversation.objects.create(title="Room")
    ann, bob = (User.objects.create_user(username=name) for name in ("ann", "bob"))
    device = new_device(ann)
    new_device(bob)
    stay = Membership.objects.create(conversation=room, user=ann)
    message = Message.objects.create(
        conversation=room, device=device, client_id="m1", body="hello", fingerprint=b"f" * 16
    )
    receipt = Receipt.objects.create(device=device, conversation=room, delivered=1)
    for row in (room, stay, message, receipt):
        row.refresh_from_db()
    return World(
        room=room, ann=ann, bob=bob, stay=stay, device=device, message=message, receipt=receipt
    )


@pytest.fixture(scope="module")
async def journals(shared_database: None) -> AsyncIterator[list[Journal]]:
    """The journal that `journal` lends, if it is none the worse for the last test."""
    kept: list[Journal] = []
    yield kept
    for journal in kept:
        await journal.close()


@pytest.fixture
async def journal(journals: list[Journal]) -> AsyncIterator[Journal]:
    """A journal alone: no hub, no lease. A new one's first batch costs its database 20 ms."""
    if not journals:
        journals.append(Journal())
        journals[0].start()
    yield journals[0]
    if not is_as_new(journals[0]):
        await journals.pop().close()


def is_as_new(journal: Journal) -> bool:
    """Whether it takes as many writes as ever, none waits for it or has a lane, and no test has replaced a part."""
    replaced = vars(journal._writer).keys() & {"append", "places"}
    busy = journal.queued or journal._slow or journal.breaker.failing
    return not (busy or journal._closing or replaced) and journal._most == BATCH_ROWS


@pytest.fixture
def room(sql: Psql) -> Room:
    """Two members with a device each; their joining took the numbers 1 and 2."""
    return scene.new_room(sql)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Path]:
    """The directory of the storage of files."""
    place = tmp_path / "files"
    own = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": place},
    }
    with override_settings(STORAGES=django_settings.STORAGES | {"files": own}):
        yield place


@pytest.fixture
def person(transactional_db: None, shelf: Path) -> Person:
    """Somebody to be erased."""
    return Person()
