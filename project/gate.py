"""Refuses a call of the REST API before it costs a thread or the database, when it could only wait there.

While the database does not answer, all of them; while this process is too busy, those that page back in
history or look for people: connected devices go without them for a while.
"""

import random
import re
from typing import Any

from messaging.api.refusals import refuse
from messaging.overload.door import door
from messaging.overload.pressure import NO_HISTORY
from messaging.protocol.errors import Refusal
from presence import database
from project.bodies import App, Receive, Send, respond
from project.middleware import API, DOCS

HISTORY = re.compile(r"/api/(conversations/[^/]+/messages|messages/|users)")
BUSY_MS = (1_000, 2_000)  # a level of load is left after a second at the earliest


class Gate:
    """An ASGI application in front of the API."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        path: str = scope["path"]
        if path.startswith(API) and not path.startswith(DOCS):
            if database.breaker.refuses():
                await respond(refuse(Refusal.UNAVAILABLE), send)
                return
            if scope["method"] == "GET" and HISTORY.match(path) and _is_busy():
                await respond(
                    refuse(Refusal.OVERLOADED, retry_after=random.randint(*BUSY_MS)), send
                )
                return
        await self._app(scope, receive, send)


def _is_busy() -> bool:
    return door().pressure.level >= NO_HISTORY
