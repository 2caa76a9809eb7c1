"""Answers load balancers and times requests, before Django sees anything: no host, no login, no thread.

`/healthz`: the process turns its event loop; it asks nobody. `/readyz`: send clients here (`messaging.health`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from messaging import health, metrics

App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

ALIVE, READY = "/healthz", "/readyz"
METHODS = ("GET", "HEAD")
KNOWN = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Probes:
    """An ASGI application with two more paths."""

    def __init__(self, app: App, process: health.Health) -> None:
        self._app, self._process = app, process

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer a probe; everything else is the application's."""
        if scope["path"] == ALIVE and scope["method"] in METHODS:
            await _answer(send, 200, {"alive": True, "process": os.getpid()})
        elif scope["path"] == READY and scope["method"] in METHODS:
            found = await self._process.readiness()
            await _answer(send, 200 if found.ready else 503, found.as_json())
        else:
            await _timed(self._app, scope, receive, send)


async def _timed(app: App, scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve a request and note how long it took, by method and class of status."""
    began, status = perf_counter(), 500

    async def note(event: dict[str, Any]) -> None:
        nonlocal status
        if event["type"] == "http.response.start":
            status = event["status"]
        await send(event)

    try:
        await app(scope, receive, note)
    finally:
        method = scope["method"] if scope["method"] in KNOWN else "other"
        took = perf_counter() - began
        metrics.request_seconds.labels(method, f"{status // 100}xx").observe(took)


async def _answer(send: Any, status: int, body: dict[str, Any]) -> None:
    content = json.dumps(body).encode() + b"\n"
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
