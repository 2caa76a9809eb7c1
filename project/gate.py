"""Refuses a call of the REST API before it costs a thread or the database, when it could only wait there.

While the database does not answer, all of them; beyond so many at a time, the others; while this process
is too busy, those that page back in history or look for people: connected devices go without for a while.
Law: who only waits for the rest of a body makes place for who has said all, or anybody could hold all places.
"""

import asyncio
import random
import re
from typing import Any

from django.http import HttpResponse

from messaging.api.refusals import refuse
from messaging.overload.door import door
from messaging.overload.pressure import NO_HISTORY
from messaging.protocol.errors import Refusal
from presence import database
from project.bodies import GONE, App, Event, Receive, Send, respond
from project.middleware import API, DOCS

FILES = "/api/files"  # not counted: one may take minutes
CALLS = 128  # under way at a time; each may hold a body of 1 MiB, and nearly all wait for a thread
HISTORY = re.compile(r"/api/(conversations/[^/]+/messages|messages/|users)")
BUSY_MS = (1_000, 2_000)  # a level of load is left after a second at the earliest


class Call:
    """One call under way. When it is to make place it looks to the application like a client that has gone."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._patience: asyncio.Timeout | None = None
        self.whole = self.answered = self.ended = False

    async def receive(self) -> Event:
        """The next event."""
        if self.whole:
            return await self._receive()
        try:
            async with asyncio.timeout(0 if self.ended else None) as self._patience:
                event = await self._receive()
        except TimeoutError:
            return GONE
        finally:
            self._patience = None
        self.whole = not event.get("more_body", False)
        return event

    async def send(self, event: Event) -> None:
        """A part of its answer."""
        self.answered = True
        await self._send(event)

    def end(self) -> None:
        """Wait no longer for the rest of its body."""
        self.ended = True
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time())


class Gate:
    """An ASGI application in front of the API."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._under_way: dict[Call, None] = {}  # the oldest first

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
        if path.startswith(FILES):
            await self._app(scope, receive, send)
        else:
            await self._count(Call(receive, send), scope)

    async def _count(self, call: Call, scope: dict[str, Any]) -> None:
        self._under_way[call] = None
        try:
            await self._app(scope, call.receive, call.send)
        finally:
            self._under_way.pop(call, None)
        if call.ended and not call.answered:
            await respond(_overloaded(), call.send)

    def _refusal(self, method: str, path: str) -> HttpResponse | None:
        """The answer to a call that is not let through."""
        if database.breaker.refuses():
            return refuse(Refusal.UNAVAILABLE)
        history = method == "GET" and HISTORY.match(path) is not None
        if history and door().pressure.level >= NO_HISTORY:
            return _overloaded()
        return None if path.startswith(FILES) or self._has_place() else _overloaded()

    def _has_place(self) -> bool:
        """Whether one more may be under way; the oldest of those whose body is not here makes place for it."""
        if len(self._under_way) < CALLS:
            return True
        waiting = next((call for call in self._under_way if not call.whole), None)
        if waiting is None:
            return False
        del self._under_way[waiting]
        waiting.end()
        return True


def _overloaded() -> HttpResponse:
    return refuse(Refusal.OVERLOADED, retry_after=random.randint(*BUSY_MS))
