"""The log-in of the admin is no way round the limit on wrong passwords."""

from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from threading import BoundedSemaphore
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.db import connection
from django.test import Client

from presence import attempts, logins
from presence.attempts import TooMany
from presence.models import User
from tests import minute

pytestmark = pytest.mark.usefixtures("transactional_db")
PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def counters_of_its_own(settings: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    minute.hold(monkeypatch)
    settings.CACHES = {"default": {**settings.CACHES["default"], "KEY_PREFIX": str(uuid4())}}


def log_in(name: str, password: str) -> Any:
    form = {"username": name, "password": password, "next": "/admin/"}
    return Client().post("/admin/login/", form)


def test_wrong_passwords_of_the_admin_and_of_the_api_count_together() -> None:
    User.objects.create_superuser(username="root", password=PASSWORD)
    for n in range(attempts.FAILURES - 1):
        assert log_in("root", f"wrong {n}").status_code == 200
    assert log_in("root", PASSWORD).status_code == 302  # a right one does not count
    assert logins.log_in(username="root", password="wrong", address="127.0.0.1") is None
    refused = log_in("root", PASSWORD)
    assert (refused.status_code, b"Too many wrong passwords" in refused.content) == (200, True)
    with pytest.raises(TooMany):
        logins.log_in(username="root", password=PASSWORD, address="127.0.0.1")


def test_the_form_tells_no_user_from_nobody() -> None:
    """Nor who is staff from who is not, whatever the password."""
    User.objects.create_superuser(username="root", password=PASSWORD)
    User.objects.create_user(username="ann", password=PASSWORD)
    tries = [("root", "wrong"), ("ann", PASSWORD), ("ann", "wrong"), ("nobody", "wrong")]
    told = {_errors(log_in(name, password), name) for name, password in tries}
    assert len(told) == 1


def _errors(response: Any, name: str) -> str:
    assert response.status_code == 200
    return str(response.context["form"].errors).replace(name, "")


def test_one_password_tried_on_many_users_is_limited_by_address() -> None:
    for n in range(logins.SPRAYED.most):
        assert logins.log_in(username=f"user{n}", password="123456", address="192.0.2.1") is None
    with pytest.raises(TooMany, match="wrong passwords from this address"):
        logins.log_in(username="another", password="123456", address="192.0.2.1")
    assert logins.log_in(username="another", password="123456", address="192.0.2.2") is None


def test_a_log_in_costs_the_same_whoever_it_is_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """One hash of a password each: else the time would tell who exists."""
    User.objects.create_user(username="ann", password=PASSWORD)
    User.objects.create_user(username="old", password=PASSWORD, is_active=False)
    hashed: list[str] = []
    encode = MD5PasswordHasher.encode

    def counted(self: MD5PasswordHasher, password: str, salt: str) -> str:
        hashed.append(password)
        return encode(self, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)
    for name, password in (
        ("ann", "wrong"),
        ("old", PASSWORD),
        ("old", "wrong"),
        ("nobody", "wrong"),
    ):
        hashed.clear()
        assert logins.log_in(username=name, password=password, address="192.0.2.3") is None
        assert hashed == [password], name


def test_passwords_are_looked_at_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty at once held all connections of the pool, and nobody else got one."""
    monkeypatch.setattr(logins, "TURN_S", 0.01)
    with ExitStack() as under_way:
        for n in range(logins.AT_ONCE):
            under_way.enter_context(logins.guess(username=f"u{n}", address="192.0.2.4"))
        with pytest.raises(TooMany, match="Too many logins at once; try again in 1 s"):
            logins.log_in(username="ann", password=PASSWORD, address="192.0.2.5")
    assert logins.log_in(username="ann", password=PASSWORD, address="192.0.2.5") is None


def test_who_waits_for_a_turn_is_one_of_few_and_the_others_are_told_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each that waits is a call under way: strangers who waited by the hundred left the API to nobody."""
    assert logins._places._value == logins.AT_ONCE + logins.WAITING
    monkeypatch.setattr(logins, "_places", BoundedSemaphore(logins.AT_ONCE + 1))
    with ThreadPoolExecutor(2) as others, ExitStack() as under_way:
        for n in range(logins.AT_ONCE):
            under_way.enter_context(logins.guess(username=f"u{n}", address="192.0.2.6"))
        two = [others.submit(try_in_vain, f"192.0.2.{n}") for n in (7, 8)]
        done, waits = wait(two, return_when=FIRST_COMPLETED)
        assert (len(done), len(waits)) == (1, 1)
        with pytest.raises(TooMany, match="Too many logins at once; try again in 1 s"):
            done.pop().result()
        under_way.close()
        assert waits.pop().result() is None


def try_in_vain(address: str) -> User | None:
    try:
        return logins.log_in(username="ann", password="wrong", address=address)
    finally:
        connection.close()
