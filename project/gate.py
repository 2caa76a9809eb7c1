"""Refuses a call of the REST API before it costs a thread or the database, when it could only wait there.

While the database does not answer, all of them; beyond so many at a time, the others; while this process
is too busy, those that page back in history or look for people: connected devices go without for a while.
Of pages, only so many with a body are under way at a time: forms of the admin, or what strangers make of them.
Law: who only waits for its client, to say the rest of a body or to read an answer, makes place for the others, or anybody
could hold all places.
"""

import asyncio
import random
import re
from collections.abc import Callable, Iterable
from typing import Any

from django.http import HttpResponse

from messaging.api.refusals import refuse
from messaging.overload.door import door
from messaging.overload.pressure import NO_HISTORY
from messaging.protocol.errors import Refusal
from presence import database
from project.bodies import GONE, UPLOADS, App, Event, Receive, Send, is_upload, respond
from project.middleware import API, DOCS

# Under way at a time; each may hold a body of 1 MiB, and nearly all wait for a thread. Files are not counted: one may
# take minutes.
CALLS = 128
FORMS = 32  # the same of pages: few people fill forms in, and anybody may send some
HISTORY = re.compile(r"/api/(conversations/[^/]+/messages|messages/|users)")
BUSY_MS = (1_000, 2_000)  # a level of load is left after a second at the earliest


class Call:
    """One call under way. When it is to make place it looks to the application like a client that has gone."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._patience: asyncio.Timeout | None = None
        self.whole = self.answered = self.ended = False

    @property
    def is_idle(self) -> bool:
        """Whether it only waits for its client."""
        return self.answered or not self.whole

    async def receive(self) -> Event:
        """The next event."""
        try:
            async with asyncio.timeout(0 if self.ended else None) as self._patience:
                event = await self._receive()
        except TimeoutError:
            return GONE
        finally:
            self._patience = None
        self.whole = self.whole or not event.get("more_body", False)
        return event

    async def send(self, event: Event) -> None:
        """A part of its answer."""
        self.answered = True
        await self._send(event)

    def end(self) -> None:
        """Wait no longer for its client."""
        self.ended = True
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time())


class Places:
    """So many requests at a time; the oldest of those that only wait for their client makes place for one more."""

    def __init__(self, most: int, refusal: Callable[[], HttpResponse]) -> None:
        self._most, self.refusal = most, refusal
        self._under_way: dict[Call, None] = {}  # the oldest first

    def has_one(self) -> bool:
        """Whether one more may be under way."""
        if len(self._under_way) < self._most:
            return True
        idle = next((call for call in self._under_way if call.is_idle), None)
        if idle is None:
            return False
        del self._under_way[idle]
        idle.end()
        return True

    async def serve(self, app: App, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request, and count it meanwhile."""
        call = Call(receive, send)
        self._under_way[call] = None
        try:
            await app(scope, call.receive, call.send)
        finally:
            self._under_way.pop(call, None)
        if call.ended and not call.answered:
            await respond(self.refusal(), call.send)


class Gate:
    """An ASGI application in front of all others."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._calls, self._forms = Places(CALLS, _overloaded), Places(FORMS, _busy)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        places, refused = self._judge(scope)
        if refused is not None:
            await respond(refused, send)
        elif places is None:
            await self._app(scope, receive, send)
        else:
            await places.serve(self._app, scope, receive, send)

    def _judge(self, scope: dict[str, Any]) -> tuple[Places | None, HttpResponse | None]:
        """Where a request is counted, if anywhere, and the answer to one that is not let through."""
        path: str = scope["path"]
        if not path.startswith(API) or path.startswith(DOCS):
            places = self._forms if _has_body(scope["headers"]) else None
        elif (refused := _refusal(scope["method"], path)) is not None:
            return None, refused
        else:
            places = None if _is_of_a_file(scope) else self._calls
        full = places is not None and not places.has_one()
        return places, places.refusal() if places is not None and full else None


def _refusal(method: str, path: str) -> HttpResponse | None:
    """The answer to a call for which it is not the moment."""
    if database.breaker.refuses():
        return refuse(Refusal.UNAVAILABLE)
    history = method == "GET" and HISTORY.match(path) is not None
    return _overloaded() if history and door().pressure.level >= NO_HISTORY else None


def _is_of_a_file(scope: dict[str, Any]) -> bool:
    """Whether a call uploads or fetches a file; what else there is below that path may not hold bodies uncounted."""
    path: str = scope["path"]
    upload = is_upload(scope["method"], path)
    return upload or (path.startswith(UPLOADS) and not _has_body(scope["headers"]))


def _has_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request says that a body follows."""
    said = dict(headers)
    return b"transfer-encoding" in said or said.get(b"content-length", b"0") != b"0"


def _overloaded() -> HttpResponse:
    return refuse(Refusal.OVERLOADED, retry_after=random.randint(*BUSY_MS))


def _busy() -> HttpResponse:
    said = "The server is busy with other forms; send yours again in a few seconds.\n"
    return HttpResponse(said, status=503, content_type="text/plain", headers={"Retry-After": "2"})
