"""The log-in of the admin is no way round the limit on wrong passwords."""

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from presence import attempts, logins
from presence.attempts import TooMany
from presence.models import User

pytestmark = pytest.mark.usefixtures("transactional_db")
PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def counters_of_its_own(settings: Any, redis_url: str) -> None:
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
