"""Three people with a device each, and a client that speaks JSON for a device."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import AsyncClient, Client

from messaging.engine import Engine
from presence.models import Device, User
from presence.tokens import register

PASSWORD = "correct horse"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Status, JSON and headers of an answer."""

    status: int
    json: Any
    headers: Any

    @property
    def code(self) -> str:
        """The refusal's code; the rest of a refusal is checked on the way."""
        assert self.headers["Content-Type"].startswith("application/json")
        assert "\n" not in self.json["message"]
        assert self.json["message"].endswith(".")
        return str(self.json["code"])


@dataclass(frozen=True, kw_only=True)
class Person:
    """A user at one device. Calls are made with its token, synchronously or (`a…`) in the loop."""

    user: User
    device: Device
    token: str

    @property
    def id(self) -> str:
        return str(self.user.pk)

    @property
    def password(self) -> str:
        return PASSWORD

    def another_device(self, name: str = "laptop") -> "Person":
        device, token = register(user=self.user, installation=name, name=name)
        return Person(user=self.user, device=device, token=token)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        given = {"headers": self._headers["headers"] | headers}
        return _answer(Client().generic(method, *self._request(body, path), **given))

    async def acall(self, method: str, path: str, body: Any = None) -> Answer:
        client = AsyncClient()
        return _answer(await client.generic(method, *self._request(body, path), **self._headers))

    @property
    def _headers(self) -> dict[str, Any]:
        return {"headers": {"Authorization": f"Bearer {self.token}"}}

    @staticmethod
    def _request(body: Any, path: str) -> tuple[str, bytes, str]:
        data = b"" if body is None else json.dumps(body).encode()
        return f"/api{path}", data, "application/json"


def _answer(response: Any) -> Answer:
    assert not response.cookies
    return Answer(status=response.status_code, json=response.json(), headers=response.headers)


def person(name: str) -> Person:
    user = User.objects.create_user(username=name, password=PASSWORD)
    device, token = register(user=user, installation=f"{name}-1", name="phone")
    return Person(user=user, device=device, token=token)


@pytest.fixture(autouse=True)
def counters_of_its_own(settings: Any, redis_url: str) -> None:
    """Wrong passwords of earlier tests don't count; nothing of the server's is flushed."""
    settings.CACHES = {"default": {**settings.CACHES["default"], "KEY_PREFIX": str(uuid4())}}


@pytest.fixture
def ann(transactional_db: None) -> Person:
    return person("ann")


@pytest.fixture
def bob(transactional_db: None) -> Person:
    return person("bob")


@pytest.fixture
def cid(transactional_db: None) -> Person:
    return person("cid")


@pytest.fixture
def group(ann: Person, bob: Person) -> str:
    """A group of Ann (admin) and Bob; its numbers: 1 and 2, they joined."""
    body = {"title": "Room", "members": [{"user": bob.id}]}
    return str(ann.call("POST", "/conversations", body).json["conversation"])


@pytest.fixture
async def running(transactional_db: None, engine: Engine) -> AsyncIterator[None]:
    """A journal in the loop; the connections of its thread are closed, so that none holds a lock."""
    yield
    await sync_to_async(connections.close_all)()
