"""Login, registration and the tokens of devices over REST."""

from __future__ import annotations

import asyncio
import unicodedata
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections
from django.test import Client

from messaging.protocol.errors import CloseCode
from presence import attempts, logins
from presence.models import Device, User
from presence.tokens import rotate
from tests import minute, scene

if TYPE_CHECKING:
    from tests.integration.messaging.api.conftest import Person

PASSWORD = "correct horse"

pytestmark = pytest.mark.usefixtures("transactional_db")


@pytest.fixture(autouse=True)
def one_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guesses of a test are all counted in the same."""
    minute.hold(monkeypatch)


def post(path: str, body: Any, *, authorization: str = "") -> Any:
    headers = {"Authorization": authorization} if authorization else {}
    response = Client().post(f"/api{path}", body, content_type="application/json", headers=headers)
    assert not response.cookies
    return response


def log_in(name: str, password: str = PASSWORD) -> Any:
    return post("/login", {"username": name, "password": password})


def test_a_password_gives_a_login_that_registers_a_device_whose_token_opens_the_api() -> None:
    user = User.objects.create_user(username="dan", password=PASSWORD)
    login = log_in("dan").json()
    assert login["user"] == str(user.pk)
    device = {"installation": "i1", "name": "laptop", "platform": "linux"}
    registered = post("/devices", device, authorization=f"Login {login['login']}").json()
    assert registered["user"] == str(user.pk)
    token = registered["token"]
    answer = Client().get("/api/devices", headers={"Authorization": f"Bearer {token}"}).json()
    [shown] = answer["devices"]
    assert (shown["device"], shown["name"], shown["this"]) == (registered["device"], "laptop", True)


def test_a_repeated_registration_gives_the_same_device_and_only_the_fresh_token_works() -> None:
    User.objects.create_user(username="dan", password=PASSWORD)
    login = f"Login {log_in('dan').json()['login']}"
    first, second = (
        post("/devices", {"installation": "i1"}, authorization=login).json() for _ in range(2)
    )
    assert first["device"] == second["device"]
    statuses = [
        Client()
        .get("/api/devices", headers={"Authorization": f"Bearer {one['token']}"})
        .status_code
        for one in (first, second)
    ]
    assert statuses == [401, 200]


def test_a_revoked_installation_cannot_register_again(ann: Person) -> None:
    Device.objects.filter(pk=ann.device.pk).update(revoked=datetime.now(UTC))
    login = f"Login {log_in('ann').json()['login']}"
    refused = post("/devices", {"installation": "ann-1"}, authorization=login)
    assert (refused.status_code, refused.json()["code"]) == (401, "revoked")


def test_a_wrong_password_and_an_unknown_user_are_refused_alike(ann: Person) -> None:
    refused = [log_in("ann", "wrong"), log_in("nobody", "wrong")]
    assert [answer.status_code for answer in refused] == [401, 401]
    assert refused[0].json() == refused[1].json()
    assert refused[0].json()["code"] == "wrong_password"


def test_the_eleventh_guess_in_a_minute_is_not_looked_at(ann: Person, bob: Person) -> None:
    guesses = [log_in("ann", f"guess {n}").status_code for n in range(attempts.FAILURES)]
    assert set(guesses) == {401}
    refused = log_in("ann")
    assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
    assert 0 < refused.json()["retry_after"] <= attempts.WINDOW_S * 1000
    assert 0 < int(refused["Retry-After"]) <= attempts.WINDOW_S
    assert log_in("bob").status_code == 200


def test_logins_work_while_the_cache_is_away(ann: Person, settings: Any) -> None:
    redis = "django.core.cache.backends.redis.RedisCache"
    settings.CACHES = {"default": {"BACKEND": redis, "LOCATION": "redis://127.0.0.1:1"}}
    assert log_in("ann", "wrong").status_code == 401
    assert log_in("ann").status_code == 200


def test_a_forged_or_old_login_registers_nothing(
    ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = log_in("ann").json()["login"]
    forged = post("/devices", {"installation": "i2"}, authorization=f"Login {login}x")
    assert (forged.status_code, forged.json()["code"]) == (401, "unauthorized")
    monkeypatch.setattr(logins, "PROOF_S", -1)
    assert (
        post("/devices", {"installation": "i2"}, authorization=f"Login {login}").status_code == 401
    )
    assert Device.objects.count() == 1


def test_a_login_of_a_password_that_was_changed_meanwhile_registers_nothing(ann: Person) -> None:
    login = log_in("ann").json()["login"]
    ann.user.set_password("another horse")
    ann.user.save()
    assert (
        post("/devices", {"installation": "i2"}, authorization=f"Login {login}").status_code == 401
    )


def test_a_token_is_no_login_and_a_login_is_no_token(ann: Person) -> None:
    login = log_in("ann").json()["login"]
    registered = post("/devices", {"installation": "i2"}, authorization=f"Bearer {ann.token}")
    listed = Client().get("/api/devices", headers={"Authorization": f"Login {login}"})
    assert [registered.status_code, listed.status_code] == [401, 401]


def test_a_request_without_token_is_told_which_header_is_missing(transactional_db: None) -> None:
    refused = Client().get("/api/conversations")
    assert refused.status_code == 401
    assert "Authorization: Bearer" in refused.json()["message"]
    assert refused["WWW-Authenticate"] == "Bearer"


def test_the_token_of_an_inactive_user_is_refused(ann: Person) -> None:
    User.objects.filter(pk=ann.user.pk).update(is_active=False)
    assert ann.call("GET", "/devices").code == "unauthorized"


def test_a_token_costs_one_query(ann: Person, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(3):  # the token with its user, the list, and who is here
        assert ann.call("GET", "/devices").status == 200


def test_whoever_does_what_a_revoked_device_is_told_comes_in_again(ann: Person) -> None:
    """Registered anew as it was, it is refused for ever."""
    Device.objects.filter(pk=ann.device.pk).update(revoked=datetime.now(UTC))
    for told in (str(ann.call("GET", "/devices").json["message"]), CloseCode.REVOKED.text):
        assert "another installation" in told
    login = f"Login {log_in('ann').json()['login']}"
    answers = [
        post("/devices", {"installation": installation}, authorization=login)
        for installation in (ann.device.installation, "another installation")
    ]
    assert [answer.status_code for answer in answers] == [401, 200]


def test_a_revoked_device_is_refused_and_its_sister_still_lists_it(ann: Person) -> None:
    other = ann.another_device()
    revoked = other.call("DELETE", f"/devices/{ann.device.pk}")
    assert revoked.status == 200
    assert revoked.json["revoked"] is not None
    assert ann.call("GET", "/devices").code == "revoked"
    listed = {one["device"]: one for one in other.call("GET", "/devices").json["devices"]}
    assert listed[str(ann.device.pk)]["revoked"] == revoked.json["revoked"]
    again = other.call("DELETE", f"/devices/{ann.device.pk}")
    assert again.json["revoked"] == revoked.json["revoked"]


def test_a_name_is_known_however_its_letters_are_put_together(ann: Person) -> None:
    """A keyboard may give a letter and its accents one by one; Django stores names in one form, as its own form does."""
    User.objects.create_user("Nguyễn", password=ann.password)
    typed = unicodedata.normalize("NFD", "Nguyễn")
    login = ann.call("POST", "/login", {"username": typed, "password": ann.password})
    assert login.status == 200
    found = ann.call("GET", f"/users?search={quote(typed)}").json["users"]
    assert [one["user"] for one in found] == [login.json["user"]]
    direct = ann.call(
        "POST", "/conversations", {"kind": "direct", "members": [{"username": typed}]}
    )
    assert direct.json["peer"]["user"] == login.json["user"]


async def test_a_revocation_that_waits_keeps_no_connection_of_the_pool_from_others(
    ann: Person,
) -> None:
    """It may wait for as long as a lease lasts, and eight of them had everybody else wait, too."""
    other = await sync_to_async(ann.another_device)()
    with scene.connect() as holder, scene.connect() as looker:
        holder.execute("BEGIN")
        holder.execute("SELECT FROM presence_device WHERE id = %s FOR UPDATE", [ann.device.pk])
        asked = asyncio.create_task(other.acall("DELETE", f"/devices/{ann.device.pk}"))
        await scene.eventually(lambda: scene.count(looker, "pg_stat_activity", REVOKING))
        held = await sync_to_async(lambda: connection.connection)()
        holder.execute("COMMIT")
    assert (await asked).status == 200
    await sync_to_async(connections.close_all)()
    assert held is None


REVOKING = "application_name = 'lockstep revoke' AND wait_event_type = 'Lock'"


def test_nobody_revokes_the_device_of_someone_else(ann: Person, bob: Person) -> None:
    assert ann.call("DELETE", f"/devices/{bob.device.pk}").code == "no_such_device"
    assert bob.call("GET", "/devices").status == 200


def test_a_device_replaces_its_token_and_the_old_one_opens_nothing(ann: Person) -> None:
    answer = ann.call("POST", "/devices/token")
    assert answer.status == 200
    assert (answer.json["device"], answer.json["user"]) == (str(ann.device.pk), ann.id)
    assert ann.call("GET", "/devices").code == "unauthorized"
    headers = {"Authorization": f"Bearer {answer.json['token']}"}
    [shown] = Client().get("/api/devices", headers=headers).json()["devices"]
    assert (shown["device"], shown["this"]) == (str(ann.device.pk), True)


def test_a_revoked_device_gets_no_fresh_token(ann: Person) -> None:
    ann.another_device().call("DELETE", f"/devices/{ann.device.pk}")
    assert ann.call("POST", "/devices/token").code == "revoked"


def test_a_token_that_was_replaced_at_the_same_moment_is_refused_in_a_sentence(
    ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(device: Device) -> str:
        rotate(Device.objects.get(pk=device.pk))
        return rotate(device)

    monkeypatch.setattr("presence.tokens.rotate", late)
    refused = ann.call("POST", "/devices/token")
    assert (refused.status, refused.code) == (401, "unauthorized")
    assert "at the same moment" in refused.json["message"]


def test_no_number_of_revoked_devices_hides_one_that_is_not(
    ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever had the password could register so many that their first one was never listed."""
    monkeypatch.setattr("messaging.api.devices.PAGE", 3)
    stolen = ann.another_device("stolen")
    for n in range(3):
        ann.call("DELETE", f"/devices/{ann.another_device(f'decoy{n}').device.pk}")
    listed = ann.call("GET", "/devices").json["devices"]
    assert [one["device"] for one in listed[:2]] == [str(stolen.device.pk), str(ann.device.pk)]
    assert [one["revoked"] is None for one in listed] == [True, True, False]
