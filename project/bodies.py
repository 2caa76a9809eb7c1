"""Bounds the body of a request, in bytes and in silence, before any of it is kept.

Django writes the whole body to a temporary file before it looks at the request: without this a
stranger could fill the disk. What comes in too much is read and dropped for a while, since a client
that is cut off while it sends never reads why.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.conf import settings
from django.http import HttpResponse

from messaging import conf
from messaging.api.refusals import Problem, decline, refuse
from messaging.files.intake import FileTooLarge
from messaging.protocol.errors import Refusal

Event = Mapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

UPLOADS = "/api/files"
ENVELOPE_BYTES = 65_536  # of an upload besides its file: boundaries, names, other fields
SILENCE_S = 30.0  # a client of whose body nothing comes for so long is gone
DROP_S = 10.0  # how long a client may go on sending what is not taken

GONE: Event = {"type": "http.disconnect"}


class Bodies:
    """An ASGI application whose requests have a bounded body; else the answer is a refusal in JSON."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        upload = scope["path"] == UPLOADS
        most = conf.current().file_bytes if upload else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = Body(receive, most + ENVELOPE_BYTES * upload)
        headers = dict(scope["headers"])
        if body.may_have(headers.get(b"content-length", b"0")):
            await self._app(scope, body, send)
        if body.silent:
            await _answer(decline(Problem.TOO_SLOW, f"{SILENCE_S:g}"), send)
        elif body.passed:
            if not body.whole and headers.get(b"expect", b"").lower() != b"100-continue":
                await _drop(receive)
            await _answer(_too_large(most, upload=upload), send)


class Body:
    """Receives for the application; a body that passes a limit looks to it like a client that has gone."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._left = receive, limit
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
            async with asyncio.timeout(SILENCE_S):
                event = await self._receive()
        except TimeoutError:
            self.silent = True
            return GONE
        self._left -= len(event.get("body", b""))
        self.passed = self._left < 0
        self.whole = not event.get("more_body", False)
        return GONE if self.passed else event


async def _drop(receive: Receive) -> None:
    """Read on until the body or the patience ends."""
    try:
        async with asyncio.timeout(DROP_S):
            while (await receive()).get("more_body", False):
                pass
    except TimeoutError:
        pass


def _too_large(most: int, *, upload: bool) -> HttpResponse:
    if upload:
        return decline(Problem.FILE_TOO_LARGE, FileTooLarge(most))
    return refuse(Refusal.TOO_LARGE, Refusal.TOO_LARGE.text(f"{most} bytes a request"))


async def _answer(response: HttpResponse, send: Send) -> None:
    headers = [(name.encode(), value.encode()) for name, value in response.items()]
    length = str(len(response.content)).encode()
    headers += [(b"Content-Length", length), (b"Connection", b"close")]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})
