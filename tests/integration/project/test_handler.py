"""Heads that say nonsense are refused, not errors of the server. (What is not read: `acceptance/test_attacks.py`.)"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler

from project.handler import Handler
from project.static import StaticFiles


def files() -> ASGIHandler:
    """The handler of the page's files, with nothing behind it."""
    return StaticFiles(Handler())


@pytest.mark.parametrize(("made", "path"), [(Handler, "/api/login"), (files, "/static/a.js")])
@pytest.mark.parametrize(
    "kind", ["a/b; charset*=x''y", "multipart/form-data; boundary*=nope'en'b", "a; b*=idna'x'%ff"]
)
async def test_an_encoding_that_there_is_not_is_a_bad_request(
    kind: str, made: Callable[[], ASGIHandler], path: str
) -> None:
    """Each was a stack trace that a stranger could write."""
    sent: list[dict[str, Any]] = []
    head = [(b"host", b"localhost"), (b"content-type", kind.encode())]
    scope = {"type": "http", "method": "POST", "path": path, "headers": head}
    asked = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if asked.is_set():
            await asyncio.Future()  # the client stays
        asked.set()
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(event: Any) -> None:
        sent.append(event)

    await made()(scope, receive, send)
    assert sent[0]["status"] == 400
