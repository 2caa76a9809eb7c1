"""Refuses a call of the REST API before it costs a thread or the database, when it could only wait there.

While the database does not answer, all of them; beyond so many at a time, the others; while this process
is too busy, those that page back in history or look for people: connected devices go without for a while.
"""

import random
import re
from typing import Any

from django.http import HttpResponse

from messaging.api.refusals import refuse
from messaging.overload.door import door
from messaging.overload.pressure import NO_HISTORY
from messaging.protocol.errors import Refusal
from presence import database
from project.bodies import App, Receive, Send, respond
from project.middleware import API, DOCS

FILES = "/api/files"  # not counted: one may take minutes
CALLS = 128  # under way at a time; each may hold a body of 1 MiB, and nearly all wait for a thread
HISTORY = re.compile(r"/api/(conversations/[^/]+/messages|messages/|users)")
BUSY_MS = (1_000, 2_000)  # a level of load is left after a second at the earliest


class Gate:
    """An ASGI application in front of the API."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._under_way = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        path: str = scope["path"]
        if not path.startswith(API) or path.startswith(DOCS):
            await self._app(scope, receive, send)
            return
        refused = self._refusal(scope["method"], path)
        if refused is not None:
            await respond(refused, send)
            return
        counted = not path.startswith(FILES)
        self._under_way += counted
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= counted

    def _refusal(self, method: str, path: str) -> HttpResponse | None:
        """The answer to a call that is not let through."""
        if database.breaker.refuses():
            return refuse(Refusal.UNAVAILABLE)
        crowded = self._under_way >= CALLS and not path.startswith(FILES)
        history = method == "GET" and HISTORY.match(path) is not None
        if crowded or (history and door().pressure.level >= NO_HISTORY):
            return refuse(Refusal.OVERLOADED, retry_after=random.randint(*BUSY_MS))
        return None
