"""Requests of the API pass Django's middlewares in the loop; pages keep session, form check and user."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import pytest
from asgiref.sync import SyncToAsync, sync_to_async
from django.core.asgi import get_asgi_application
from django.db import connections
from django.test import AsyncClient

from presence.models import User
from project.middleware import ANSWERS, PAGES
from project.static import StaticFiles

pytestmark = pytest.mark.usefixtures("transactional_db")

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@pytest.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    """Close what the thread of the views has opened: the loop ends, and the database is dropped."""
    yield
    await sync_to_async(connections.close_all)()


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was called in a thread, by name."""
    called: list[str] = []
    handler = SyncToAsync.thread_handler

    def counted(self: Any, *args: Any, **named: Any) -> Any:
        called.append(getattr(self.func, "__qualname__", repr(self.func)))
        return handler(self, *args, **named)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(SyncToAsync, "thread_handler", counted)
    return called


async def test_a_request_of_the_api_changes_to_a_thread_for_its_view_alone(
    threads: list[str],
) -> None:
    """Beside what Django itself does at the begin and the end of every request."""
    client = AsyncClient()
    assert (await client.get("/api/conversations")).status_code == 401
    assert [name for name in threads if "Middleware" in name or "process_" in name] == []
    of_django = ["Signal.asend.<locals>.sync_send", "HttpResponseBase.close", "log_response"]
    assert len([name for name in threads if name not in of_django]) == 1


@pytest.mark.parametrize("path", ["/api/conversations", "/api/nowhere", "/"])
async def test_whatever_is_asked_the_answer_has_the_headers_of_a_careful_site(path: str) -> None:
    answer = await AsyncClient().get(path)
    assert HEADERS.items() <= dict(answer.items()).items()
    assert not answer.cookies or path == "/"


@pytest.mark.parametrize(
    ("path", "policy"),
    [
        ("/api/conversations", ANSWERS),
        ("/api/nowhere", ANSWERS),
        ("/api/docs", PAGES),
        ("/admin/login/", PAGES),
        ("/nowhere", PAGES),
    ],
)
async def test_every_answer_says_what_it_may_load(path: str, policy: str) -> None:
    answer = await AsyncClient().get(path)
    assert answer["Content-Security-Policy"] == policy
    assert (
        "script-src" not in policy
        or "unsafe" not in policy.partition("script-src")[2].split(";")[0]
    )


async def test_what_has_a_policy_of_its_own_keeps_it() -> None:
    assert (
        "default-src 'none'; script-src 'self'"
        in (await AsyncClient().get("/"))["Content-Security-Policy"]
    )


@pytest.mark.parametrize("path", ["/admin/login/", "/api/docs"])
async def test_pages_have_no_script_of_their_own_that_the_policy_would_stop(path: str) -> None:
    html = (await AsyncClient().get(path)).content.decode()
    scripts = re.findall(r"<script([^>]*)>", html)
    assert all("src=" in one or "application/json" in one for one in scripts)
    assert not re.search(r"\son\w+=", html)


async def test_a_page_keeps_its_session_its_user_and_its_check_of_forms() -> None:
    await User.objects.acreate_superuser(username="root", password="correct horse")
    client = AsyncClient(enforce_csrf_checks=True)
    form = {"username": "root", "password": "correct horse", "next": "/admin/"}
    assert (await client.post("/admin/login/", form)).status_code == 403
    await client.get("/admin/login/")
    form["csrfmiddlewaretoken"] = client.cookies["csrftoken"].value
    assert (await client.post("/admin/login/", form)).status_code == 302
    page = await client.get("/admin/")
    assert page.status_code == 200
    assert b"Log out" in page.content


async def test_a_session_that_no_database_can_hold_is_none() -> None:
    """A stranger's cookie was an error of the server, with a stack trace."""
    client = AsyncClient()
    client.cookies["sessionid"] = "\0aaaaaaaa"
    assert (await client.get("/admin/")).status_code == 302


@pytest.mark.parametrize(
    "name", ["../manage.py", "%2e%2e/manage.py", "/etc/passwd", "a%00b", "x" * 5_000, "%ff"]
)
async def test_a_name_that_no_file_can_have_is_not_found(name: str) -> None:
    """Each was an error of the server, with a stack trace for a line of a stranger."""
    sent: list[dict[str, Any]] = []
    events = [{"type": "http.request", "body": b"", "more_body": False}]
    path = f"/static/{unquote(name)}"
    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}

    async def receive() -> dict[str, Any]:
        if events:
            return events.pop()
        return await asyncio.Future()  # the client stays

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    await StaticFiles(get_asgi_application())(scope, receive, send)
    assert sent[0]["status"] == 404
