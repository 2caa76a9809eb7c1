"""HTTP/1.1 with JSON for the load on the REST API: as many requests at once as come, on connections that are kept.

Only what this API needs: answers with a length or in chunks, no redirects, no cookies. One retry on a
fresh connection if a kept one turns out to be closed, which every client has to do (RFC 9112, 9.3.1).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

ANSWER_S = 30.0


class NoAnswer(OSError):
    """The server did not answer a request; the text says what came instead."""


class Answer(NamedTuple):
    """A status and a body."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as an object. Raises NoAnswer if it is none."""
        try:
            return msgspec.json.decode(self.body, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise NoAnswer(f"{self.status} without a JSON object: {error}") from None


class _Stale(NoAnswer):
    """A kept connection was closed before anything came."""


class Rest:
    """A client of one server."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._tls = parts.scheme == "https"
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if self._tls else 80)
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.opened = 0  # connections

    async def ask(
        self,
        method: str,
        path: str,
        *,
        token: str = "",
        login: str = "",
        body: Mapping[str, object] | None = None,
    ) -> Answer:
        """Make a request and return its answer, whatever the status. Raises NoAnswer."""
        content = b"" if body is None else msgspec.json.encode(body)
        kind = "" if body is None else "application/json"
        sent = _request(method, path, self._host, token=token, login=login, content=content, kind=kind)  # fmt: skip
        return await self._exchange(f"{method} {path}", sent)

    async def upload(self, path: str, *, name: str, content: bytes, token: str) -> Answer:
        """Send a file as the one part `file` of a form (RFC 7578). Raises NoAnswer."""
        border = secrets.token_hex(16)
        head = (
            f'--{border}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        )
        form = head.encode() + content + f"\r\n--{border}--\r\n".encode()
        kind = f"multipart/form-data; boundary={border}"
        sent = _request("POST", path, self._host, token=token, content=form, kind=kind)
        return await self._exchange(f"POST {path}", sent)

    async def _exchange(self, what: str, sent: bytes) -> Answer:
        try:
            async with asyncio.timeout(ANSWER_S):
                try:
                    return await self._ask(sent, fresh=not self._free)
                except _Stale:
                    return await self._ask(sent, fresh=True)
        except TimeoutError:
            raise NoAnswer(f"{what}: no answer within {ANSWER_S:.0f} s") from None
        except NoAnswer:
            raise
        except (OSError, ValueError, EOFError) as error:
            raise NoAnswer(f"{what}: {error or type(error).__name__}") from None

    async def close(self) -> None:
        """Close what is kept."""
        free, self._free = self._free, []
        for _, writer in free:
            writer.close()
        for _, writer in free:
            with suppress(OSError):
                await writer.wait_closed()

    async def _ask(self, sent: bytes, *, fresh: bool) -> Answer:
        reader, writer = await self._open() if fresh else self._free.pop()
        try:
            writer.write(sent)
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                begun = isinstance(error, asyncio.IncompleteReadError) and error.partial
                if fresh or begun:
                    raise NoAnswer("the connection was closed before the answer") from None
                raise _Stale from None
            answer, keep = await _read(head, reader)
        except BaseException:
            writer.close()
            raise
        if keep:
            self._free.append((reader, writer))
        else:
            writer.close()
        return answer

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.opened += 1
        return await asyncio.open_connection(self._host, self._port, ssl=self._tls or None)


def _request(
    method: str,
    path: str,
    host: str,
    *,
    token: str = "",
    login: str = "",
    content: bytes = b"",
    kind: str = "",
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(content)}"]
    if kind:
        lines.append(f"Content-Type: {kind}")
    if token or login:
        lines.append(f"Authorization: {f'Bearer {token}' if token else f'Login {login}'}")
    return "\r\n".join([*lines, "", ""]).encode() + content


async def _read(head: bytes, reader: asyncio.StreamReader) -> tuple[Answer, bool]:
    """The answer that begins with this head, and whether the connection may be used again."""
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines)
    }
    status = int(first.split(" ", 2)[1])
    if fields.get("transfer-encoding", "").lower() == "chunked":
        body = await _chunks(reader)
    else:
        body = await reader.readexactly(int(fields.get("content-length", "0")))
    return Answer(status, body), fields.get("connection", "").lower() != "close"


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while (await reader.readline()).strip():
        pass  # trailers
    return b"".join(parts)
