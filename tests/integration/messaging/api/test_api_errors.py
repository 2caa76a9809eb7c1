"""Whatever goes wrong under /api/ is answered with a code, a sentence and a status, in JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from messaging.api.refusals import STATUS, Problem
from messaging.protocol.errors import Refusal
from presence import database

if TYPE_CHECKING:
    from tests.integration.messaging.api.conftest import Person

pytestmark = pytest.mark.usefixtures("transactional_db")


def test_every_refusal_of_the_wire_has_a_status_and_no_problem_takes_its_code() -> None:
    assert set(STATUS) == set(Refusal)
    assert not {problem.code for problem in Problem} & {refusal.code for refusal in Refusal}


@pytest.mark.parametrize("path", ["/api/", "/api/nowhere", "/api/devices/", "/api/messages"])
def test_an_unknown_route_is_refused_in_json(path: str) -> None:
    for method in ("get", "post"):
        refused = getattr(Client(enforce_csrf_checks=True), method)(path)
        assert (refused.status_code, refused.json()["code"]) == (404, "no_such_route")


@pytest.mark.parametrize("path", ["/devices", "/login", "/messages/x"])
def test_a_wrong_method_is_told_the_right_ones(ann: Person, path: str) -> None:
    refused = ann.call("PUT", path)
    assert (refused.status, refused.code) == (405, "method_not_allowed")
    assert refused.headers["Allow"] in refused.json["message"]


def test_no_route_asks_for_a_cookie(ann: Person) -> None:
    browser = Client(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {ann.token}"})
    opened = browser.post("/api/conversations", {"title": "x"}, content_type="application/json")
    assert opened.status_code == 201
    assert not browser.cookies


def test_a_body_that_is_no_json_is_refused(ann: Person) -> None:
    answer = Client().post(
        "/api/conversations",
        b"{",
        content_type="application/json",
        headers={"Authorization": f"Bearer {ann.token}"},
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("path", "body", "names"),
    [
        ("/conversations", {"kind": "self"}, "body.kind"),
        ("/conversations", {"title": "x" * 201}, "body.title"),
        ("/conversations", {"title": "a\x00b"}, "body.title: NUL"),
        ("/conversations", {"title": "\ud800"}, "body.title"),
        ("/conversations", {"members": [{"user": "ann"}]}, "body.members.0.user"),
        ("/conversations", {"members": [{}]}, "body.members.0: give either"),
        ("/conversations", {"kind": "direct"}, "body: a direct conversation"),
        ("/conversations", [], "body"),
        ("/conversations", None, "body"),
    ],
)
def test_an_invalid_request_names_the_field(ann: Person, path: str, body: Any, names: str) -> None:
    refused = ann.call("POST", path, body)
    assert (refused.status, refused.code) == (422, "invalid_request")
    assert names in refused.json["message"]


@pytest.mark.parametrize(
    "path",
    [
        "/conversations/1",
        "/conversations?limit=0",
        "/conversations?limit=201",
        "/conversations?after=x",
        "/users?search=%00",
        "/users?search=",
        "/users",
    ],
)
def test_invalid_parameters_are_refused(ann: Person, path: str) -> None:
    assert ann.call("GET", path).code == "invalid_request"


def test_more_parameters_than_are_read_are_refused(ann: Person) -> None:
    refused = ann.call("GET", "/users?search=a" + "&a=" * 1_000)
    assert (refused.status, refused.code) == (422, "invalid_request")


def test_a_request_beyond_a_mebibyte_is_too_large(ann: Person) -> None:
    refused = ann.call("POST", "/conversations", {"title": "x" * 1_048_576})
    assert (refused.status, refused.code) == (413, "too_large")


def another_connection() -> psycopg.Connection[Any]:
    known = connection.get_connection_params()
    names = ("dbname", "user", "password", "host", "port")
    return psycopg.connect(**{name: known[name] for name in names if name in known})


def test_a_lost_database_is_unavailable_and_whether_it_wrote_is_unknown(ann: Person) -> None:
    with another_connection() as killer:
        killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    refused = ann.call("GET", "/devices")
    assert (refused.status, refused.code) == (503, "database_unavailable")
    assert refused.json["definite"] is False
    assert refused.headers["Retry-After"] == "1"
    connection.close()
    pool: Any = connection  # of PostgreSQL: the stubs know what all databases have
    pool.close_pool()  # its other connections are lost as well
    assert ann.call("GET", "/devices").status == 200


def test_a_database_that_takes_no_writes_is_unavailable_and_the_request_may_be_repeated(
    ann: Person, group: str
) -> None:
    """As the socket says it: after a failover the old primary refused each write as if it were wrong."""
    path, body = f"/conversations/{group}", {"title": "New"}
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
        try:
            refused = ann.call("PATCH", path, body)
            assert ann.call("GET", path).json["title"] == "Room"
        finally:
            cursor.execute("RESET default_transaction_read_only")
    assert (refused.status, refused.code) == (503, "database_unavailable")
    assert refused.headers["Retry-After"] == "1"
    assert ann.call("PATCH", path, body).status == 200


@pytest.mark.slow
def test_a_locked_conversation_is_busy_and_tells_when_to_come_back(ann: Person, group: str) -> None:
    with another_connection() as holder:
        holder.execute("SELECT FROM messaging_conversation WHERE id = %s FOR UPDATE", [group])
        refused = ann.call("PATCH", f"/conversations/{group}", {"title": "New"})
    assert (refused.status, refused.code) == (503, "busy")
    assert refused.headers["Retry-After"] == "1"
    assert ann.call("PATCH", f"/conversations/{group}", {"title": "New"}).status == 200


def test_an_error_of_the_server_is_logged_and_answered_without_a_trace(
    ann: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("messaging.api.devices._shown", lambda *_, **__: 1 / 0)
    answer = Client(
        raise_request_exception=False, headers={"Authorization": f"Bearer {ann.token}"}
    ).get("/api/devices")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "ZeroDivisionError" in caplog.text


def test_the_documentation_page_needs_no_other_site() -> None:
    page = Client().get("/api/docs").content.decode()
    links = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
    assert links
    assert not [link for link in links if not link.startswith("/")]


def test_the_checked_in_contract_is_the_one_served() -> None:
    stored = Path(settings.BASE_DIR) / "docs" / "openapi.json"
    mend = "manage.py export_openapi_schema --api messaging.api.api --indent 2 --output docs/openapi.json"
    served = Client().get("/api/openapi.json").json()
    assert json.loads(stored.read_text()) == served, f"run {mend}"


def test_the_contract_names_every_code() -> None:
    """Who writes a client reads no code, and has to know what each of them asks of it."""
    schemas = Client().get("/api/openapi.json").json()["components"]["schemas"]
    told = set(re.findall(r"`(\w+)`", schemas["RefusalOut"]["properties"]["code"]["description"]))
    assert {one.code for one in (*Refusal, *Problem)} == told


@pytest.mark.parametrize("what", ["register", "rotate", "issue", "link"])
def test_a_user_who_is_locked_is_busy_and_nobody_waits_without_end(
    ann: Person, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Eight who wanted in while all users were updated had the connections of the process until that was done."""
    monkeypatch.setattr(database, "LOCK_TIMEOUT_MS", 50)
    code = ann.call("POST", "/devices/link-codes").json["code"]
    proof = ann.call("POST", "/login", {"username": "ann", "password": ann.password}).json["login"]
    path, body = {
        "register": ("/devices", {"installation": "new"}),
        "rotate": ("/devices/token", None),
        "issue": ("/devices/link-codes", None),
        "link": ("/devices/link", {"code": code, "installation": "new"}),
    }[what]
    given = {"Authorization": f"Login {proof}"} if what == "register" else {}
    with another_connection() as holder:
        holder.execute("SELECT FROM presence_user FOR UPDATE")
        holder.execute("SELECT FROM presence_device FOR UPDATE")
        refused = ann.call("POST", path, body, **given)
    assert (refused.status, refused.code) == (503, "busy")
    assert refused.headers["Retry-After"] == "1"
    assert ann.call("POST", path, body, **given).status == 200
