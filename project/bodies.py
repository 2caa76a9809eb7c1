"""Bounds the body of a request, in bytes and in time, before any of it is kept.

Django writes the whole body to a temporary file before it looks at the request: without this a
stranger could fill the disk. So who uploads a file is asked for their token first. What comes in too
much is read and dropped for a while, since a client that is cut off while it sends never reads why.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse

from messaging import conf
from messaging.api.auth import Bearer
from messaging.api.refusals import Problem, decline, refuse
from messaging.files.intake import FileTooLarge
from messaging.protocol.errors import Refusal, Refused

logger = logging.getLogger(__name__)

Event = Mapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

UPLOADS = "/api/files"
ENVELOPE_BYTES = 65_536  # of an upload besides its file: boundaries, names, other fields
SILENCE_S = 30.0  # a client of whose body nothing comes for so long is gone
SLOWEST = 500  # bytes/s over the whole body, as Apache's mod_reqtimeout asks for: below it drips on purpose
DROP_S = 10.0  # how long a client may go on sending what is not taken

GONE: Event = {"type": "http.disconnect"}


class Bodies:
    """An ASGI application whose requests have a bounded body; else the answer is a refusal in JSON."""

    def __init__(self, app: App, judge: Callable[[bytes], Refusal | None] | None = None) -> None:
        self._app, self._judge = app, judge or refusal_of

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        upload = is_upload(scope["method"], scope["path"])
        body = Body(receive, most(upload=upload))
        headers = dict(scope["headers"])
        if upload:
            stranger = await asyncio.to_thread(self._judge, headers.get(b"authorization", b""))
            if stranger is not None:
                await self._refuse(refuse(stranger), body, receive, headers, send)
                return
        if body.may_have(headers.get(b"content-length", b"0")):
            answer = Answer(send)
            try:
                await self._app(scope, body, answer)
            except OSError:
                if answer.begun:
                    raise  # a file that can't be read to its end, say: two answers would be none
                # Django itself answers for what a view raises: it could not keep the body.
                logger.exception("the body of a request can't be kept")
                kept_not = decline(Problem.FILES_UNAVAILABLE)
                await self._refuse(kept_not, body, receive, headers, send)
                return
        if body.silent:
            await respond(too_slow(), send)
        elif body.passed:
            await self._refuse(too_large(upload=upload), body, receive, headers, send)

    async def _refuse(
        self,
        answer: HttpResponse,
        body: "Body",
        receive: Receive,
        headers: Mapping[bytes, bytes],
        send: Send,
    ) -> None:
        """Answer when what the client still sends is over, or at once if it asked first."""
        if not body.whole and headers.get(b"expect", b"").lower() != b"100-continue":
            await _drop(receive)
        await respond(answer, send)


class Answer:
    """Sends for the application, and knows whether it has begun to answer."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def __call__(self, event: Event) -> None:
        """The next event."""
        self.begun = True
        await self._send(event)


class Pace:
    """How long the next part of a body may take."""

    def __init__(self) -> None:
        self._until = monotonic() + SILENCE_S

    def took(self, size: int) -> None:
        """So many bytes have come."""
        self._until += size / SLOWEST

    @property
    def left(self) -> float:
        """Seconds."""
        return max(min(SILENCE_S, self._until - monotonic()), 0.0)


class Body:
    """Receives for the application; a body that passes a limit looks to it like a client that has gone."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._left = receive, limit
        self._pace = Pace()
        self.whole = False
        self.passed = self.silent = False

    def may_have(self, length: bytes) -> bool:
        """Whether the request may have as much as its header says."""
        self.passed = not length.isdigit() or int(length) > self._left
        return not self.passed

    async def __call__(self) -> Event:
        """The next event."""
        if self.whole:
            return await self._receive()  # its answer is being made: that may take any time
        try:
            async with asyncio.timeout(self._pace.left):
                event = await self._receive()
        except TimeoutError:
            self.silent = True
            return GONE
        size = len(event.get("body", b""))
        self._left -= size
        self._pace.took(size)
        self.passed = self._left < 0
        self.whole = not event.get("more_body", False)
        return GONE if self.passed else event


def is_upload(method: str, path: str) -> bool:
    """Whether a request brings a file: then it is judged by its head, and may be larger."""
    return method == "POST" and path == UPLOADS


def most(*, upload: bool) -> int:
    """Most bytes of the body of a request."""
    kept = conf.current().file_bytes if upload else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return kept + ENVELOPE_BYTES * upload


def refusal_of(authorization: bytes) -> Refusal | None:
    """Why this header uploads nothing, or None; the API asks again when all is there."""
    scheme, _, token = authorization.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer":
        return Refusal.UNAUTHORIZED
    try:
        Bearer().authenticate(HttpRequest(), token)
    except Refused as refused:
        return refused.refusal
    except DatabaseError:  # the API says it in its own words
        pass
    finally:
        connection.close()
    return None


async def _drop(receive: Receive) -> None:
    """Read on until the body or the patience ends."""
    try:
        async with asyncio.timeout(DROP_S):
            while (await receive()).get("more_body", False):
                pass
    except TimeoutError:
        pass


def too_large(*, upload: bool) -> HttpResponse:
    """The answer to a body above its bound."""
    if upload:
        return decline(Problem.FILE_TOO_LARGE, FileTooLarge(conf.current().file_bytes))
    return refuse(
        Refusal.TOO_LARGE, Refusal.TOO_LARGE.text(f"{most(upload=upload)} bytes a request")
    )


def too_slow() -> HttpResponse:
    """The answer to a body of which nothing comes, or too little."""
    return decline(Problem.TOO_SLOW, f"{SILENCE_S:g}")


async def respond(response: HttpResponse, send: Send) -> None:
    """Send a response that no view made, and hang up: its request may not have been read to the end."""
    headers = [(name.encode(), value.encode()) for name, value in response.items()]
    length = str(len(response.content)).encode()
    headers += [(b"Content-Length", length), (b"Connection", b"close")]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})
