"""Linking a device over REST: a code from one that is signed in, for one that is not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db.models.functions import Now
from django.test import Client

from presence import attempts, links
from presence.models import Device, LinkCode, User
from tests import minute

if TYPE_CHECKING:
    from tests.integration.messaging.api.conftest import Person

pytestmark = pytest.mark.usefixtures("transactional_db")


@pytest.fixture(autouse=True)
def one_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guesses of a test are all counted in the same."""
    minute.hold(monkeypatch)


CODE = r"[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}"


def link(code: str, *, installation: str = "new", address: str = "192.0.2.1", **more: Any) -> Any:
    body = {"code": code, "installation": installation} | more
    response = Client(REMOTE_ADDR=address).post(
        "/api/devices/link", body, content_type="application/json"
    )
    assert not response.cookies
    return response


def code_of(person: Person) -> str:
    return str(person.call("POST", "/devices/link-codes").json["code"])


def listed(token: str) -> list[dict[str, Any]]:
    answer = Client().get("/api/devices", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    return list(answer.json()["devices"])


def test_a_code_of_one_device_makes_another_and_both_list_both(ann: Person) -> None:
    answer = link(code_of(ann), installation="i2", name="laptop", platform="linux")
    assert answer.status_code == 200
    made = answer.json()
    assert made["user"] == ann.id
    for token, this in ((ann.token, str(ann.device.pk)), (made["token"], made["device"])):
        shown = {one["device"]: one for one in listed(token)}
        assert shown.keys() == {str(ann.device.pk), made["device"]}
        assert [key for key, one in shown.items() if one["this"]] == [this]
        assert (shown[made["device"]]["name"], shown[made["device"]]["platform"]) == (
            "laptop",
            "linux",
        )


def test_a_code_comes_with_its_end_and_with_what_a_qr_code_holds(ann: Person) -> None:
    answer = ann.call("POST", "/devices/link-codes")
    assert answer.status == 200
    assert re.fullmatch(CODE, answer.json["code"])
    stored = LinkCode.objects.get()
    assert answer.json["expires"] == pytest.approx(stored.expires.timestamp() * 1000, abs=1)
    payload = urlsplit(answer.json["qr"])
    assert (payload.scheme, payload.netloc) == ("lockstep", "link")
    said = {name: values[0] for name, values in parse_qs(payload.query).items()}
    assert said == {"server": "http://testserver/", "code": answer.json["code"]}


def test_an_unknown_a_used_and_an_expired_code_are_refused_alike(ann: Person) -> None:
    used, expired = code_of(ann), code_of(ann)
    assert link(used).status_code == 200
    LinkCode.objects.filter(used=None).update(expires=Now())
    refused = [link(code) for code in (used, expired, "0000-0000", "nonsense", "")]
    assert {answer.status_code for answer in refused} == {404}
    assert {answer.content for answer in refused} == {refused[0].content}
    assert refused[0].json()["code"] == "no_such_link_code"
    headers = [dict(answer.headers) for answer in refused]
    assert all(one == headers[0] for one in headers)
    assert Device.objects.count() == 2


def test_a_code_of_a_device_that_was_revoked_since_is_refused_like_an_unknown_one(
    ann: Person,
) -> None:
    code = code_of(ann)
    ann.another_device().call("DELETE", f"/devices/{ann.device.pk}")
    assert link(code).content == link("0000-0000").content
    assert ann.call("POST", "/devices/link-codes").code == "revoked"


def test_a_code_of_a_user_who_was_deactivated_since_is_refused_like_an_unknown_one(
    ann: Person,
) -> None:
    code = code_of(ann)
    User.objects.filter(pk=ann.user.pk).update(is_active=False)
    assert link(code).content == link("0000-0000").content
    assert ann.call("POST", "/devices/link-codes").code == "unauthorized"


def test_nobody_gets_a_code_without_a_device(ann: Person) -> None:
    assert Client().post("/api/devices/link-codes").status_code == 401
    login = Client().post(
        "/api/login",
        {"username": "ann", "password": ann.password},
        content_type="application/json",
    )
    headers = {"Authorization": f"Login {login.json()['login']}"}
    assert Client().post("/api/devices/link-codes", headers=headers).status_code == 401
    assert not LinkCode.objects.exists()


def test_the_sixth_unused_code_is_refused_until_the_first_runs_out(ann: Person) -> None:
    for _ in range(links.LIVE):
        code_of(ann)
    refused = ann.another_device().call("POST", "/devices/link-codes")
    assert (refused.status, refused.code) == (429, "overloaded")
    assert 100_000 < refused.json["retry_after"] <= 120_000
    assert 100 < int(refused.headers["Retry-After"]) <= 120


def test_after_ten_wrong_codes_the_address_has_to_wait_and_others_do_not(ann: Person) -> None:
    code = code_of(ann)
    for _ in range(attempts.FAILURES):
        assert link("0000-0000").status_code == 404
    refused = link(code)
    assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
    assert 0 < int(refused["Retry-After"]) <= attempts.WINDOW_S
    assert link(code, address="192.0.2.2").status_code == 200


def test_a_revoked_installation_is_told_to_make_a_new_one(ann: Person) -> None:
    old = ann.another_device("old")
    ann.call("DELETE", f"/devices/{old.device.pk}")
    refused = link(code_of(ann), installation="old")
    assert (refused.status_code, refused.json()["code"]) == (401, "revoked")


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"code": "x" * 65}, "body.code"),
        ({"code": "\x00"}, "body.code: NUL"),
        ({"code": "0", "installation": ""}, "body.installation"),
        ({"installation": "x"}, "body.code"),
    ],
)
def test_an_invalid_request_names_the_field(wrong: dict[str, str], names: str) -> None:
    answer = Client().post(
        "/api/devices/link", {"installation": "i"} | wrong, content_type="application/json"
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert names in answer.json()["message"]


def test_codes_are_in_no_log_line(
    ann: Person, bob: Person, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(0)
    good, lost = code_of(ann), code_of(bob)
    assert link(good).status_code == 200
    assert link(good).status_code == 404
    monkeypatch.setattr(links, "register", lambda **_: 1 / 0)
    client = Client(raise_request_exception=False)
    body = {"code": lost, "installation": "i"}
    assert (
        client.post("/api/devices/link", body, content_type="application/json").status_code == 500
    )
    assert "ZeroDivisionError" in caplog.text
    for code in (good, lost):
        assert code not in caplog.text
        assert code.replace("-", "") not in caplog.text
