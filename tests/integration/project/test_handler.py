"""Heads that say nonsense are refused, not errors of the server. (What is not read: `acceptance/test_attacks.py`.)"""

import asyncio
from typing import Any

import pytest

from project.handler import Handler


@pytest.mark.parametrize(
    "kind", ["a/b; charset*=x''y", "multipart/form-data; boundary*=nope'en'b", "a; b*=idna'x'%ff"]
)
async def test_an_encoding_that_there_is_not_is_a_bad_request(kind: str) -> None:
    """Each was a stack trace that a stranger could write."""
    sent: list[dict[str, Any]] = []
    head = [(b"host", b"localhost"), (b"content-type", kind.encode())]
    scope = {"type": "http", "method": "POST", "path": "/api/login", "headers": head}
    asked = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if asked.is_set():
            await asyncio.Future()  # the client stays
        asked.set()
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(event: Any) -> None:
        sent.append(event)

    await Handler()(scope, receive, send)
    assert sent[0]["status"] == 400
