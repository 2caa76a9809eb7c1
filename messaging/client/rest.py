"""The calls that a client makes over HTTP: log in, register the device, and whatever else the API offers.

Plain `urllib` in a thread: a client needs a handful of them in its life.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qs, urlsplit, urlunsplit
from urllib.request import Request, urlopen

import msgspec

from messaging.client.files import Damaged, Form, save, whole
from messaging.protocol import LockstepError
from messaging.protocol.frames import Attachment

T = TypeVar("T")

TIMEOUT_S = 20.0  # of one call; log-in hashes a password, which takes a good part of a second


class ApiError(LockstepError):
    """An HTTP call that failed. `status` is 0 if no answer came, `retry_after` is in ms."""

    def __init__(
        self, *, status: int, code: str, message: str, retry_after: int | None = None
    ) -> None:
        self.status, self.code, self.message = status, code, message
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def socket_url(url: str) -> str:
    """The WebSocket address that belongs to a server's address."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, parts.netloc, "/ws/", "", ""))


@dataclass(frozen=True, kw_only=True)
class LinkCode:
    """What links one more device to the user: `code` to be typed, or `qr` to be shown, until `expires` (ms)."""

    code: str = field(repr=False)
    qr: str = field(repr=False)
    expires: int


def read_link(qr: str) -> tuple[str, str]:
    """The server and the code in what a QR code said. Raises ValueError if it is no such thing."""
    parts = urlsplit(qr.strip())
    said = parse_qs(parts.query)
    if (parts.scheme, parts.netloc) != ("lockstep", "link") or not {"server", "code"} <= set(said):
        raise ValueError("A link looks like lockstep://link?server=…&code=…; this does not.")
    return said["server"][0], said["code"][0]


@dataclass(frozen=True, kw_only=True)
class Rest:
    """A server's REST API, as seen with one authorization."""

    url: str
    authorization: str = ""

    @classmethod
    def of_device(cls, url: str, token: str) -> Rest:
        """The API for a registered device."""
        return cls(url=url, authorization=f"Bearer {token}")

    async def log_in(self, username: str, password: str) -> Rest:
        """Check a password. Returns the API for registering a device, good for five minutes."""
        answer = await self.call("POST", "/login", {"username": username, "password": password})
        return Rest(url=self.url, authorization=f"Login {answer['login']}")

    async def register(self, *, installation: str, name: str, platform: str = "python") -> str:
        """Register this device, or the same one anew. Returns its token, which the server shows once."""
        about = {"installation": installation, "name": name, "platform": platform}
        answer = await self.call("POST", "/devices", about)
        return str(answer["token"])

    async def link_code(self) -> LinkCode:
        """A code with which one new device can `link` itself to this device's user, within two minutes."""
        answer = await self.call("POST", "/devices/link-codes")
        return LinkCode(code=answer["code"], qr=answer["qr"], expires=answer["expires"])

    async def link(
        self, code: str, *, installation: str, name: str, platform: str = "python"
    ) -> str:
        """Register this device with a code instead of a password. Returns its token, which is shown once."""
        about = {"installation": installation, "name": name, "platform": platform}
        answer = await self.call("POST", "/devices/link", {"code": code, **about})
        return str(answer["token"])

    async def rotate_token(self) -> str:
        """Replace this device's token. Returns the new one, which is shown once."""
        answer = await self.call("POST", "/devices/token")
        return str(answer["token"])

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """One call below /api, JSON both ways. Raises `ApiError`."""
        return await asyncio.to_thread(self._call, method, path, body)

    async def upload(self, source: bytes | Path, *, name: str = "", type: str = "") -> Attachment:  # noqa: A002
        """Upload a content, or a file of this computer, for a message to take along within a day. Raises `ApiError`, OSError."""
        form = Form.of(source, name=name, kind=type)
        answer = await asyncio.to_thread(self._exchange, "POST", "/files", form, _json)
        return msgspec.convert(answer, Attachment)

    async def download(self, file: Attachment | str) -> bytes:
        """The content of a file, of which the digest was checked. Raises `ApiError`."""
        return await asyncio.to_thread(
            self._exchange, "GET", _path(file), None, lambda it: whole(it, _digest(file, it))
        )

    async def download_to(self, target: Path, file: Attachment | str) -> None:
        """The same into a file of this computer, which appears when it is whole. Raises `ApiError`."""
        await asyncio.to_thread(
            self._exchange, "GET", _path(file), None, lambda it: save(it, target, _digest(file, it))
        )

    def _call(self, method: str, path: str, body: object) -> Any:
        return self._exchange(method, path, None if body is None else json.dumps(body), _json)

    def _exchange(
        self, method: str, path: str, body: str | Form | None, read: Callable[[Any], T]
    ) -> T:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self.authorization:
            headers["Authorization"] = self.authorization
        headers |= body.headers if isinstance(body, Form) else {}
        address = f"{self.url.rstrip('/')}/api{path}"
        try:
            data = body.encode() if isinstance(body, str) else body
            request = Request(address, data=data, headers=headers, method=method)  # noqa: S310  the caller's own server
            with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                return read(answer)
        except HTTPError as error:
            raise _api_error(error, address) from None
        except Damaged as error:
            raise ApiError(status=200, code="damaged", message=str(error)) from None
        except (URLError, HTTPException, OSError, ValueError) as error:
            reason = f"{address} can't be reached ({error}); is the server running?"
            raise ApiError(status=0, code="unreachable", message=reason) from error


def _json(answer: Any) -> Any:
    return json.loads(answer.read() or b"null")


def _path(file: Attachment | str) -> str:
    return f"/files/{file if isinstance(file, str) else file.id}"


def _digest(file: Attachment | str, answer: Any) -> str:
    """What the content must have: by the message, or by the server's word."""
    return str(answer.headers["ETag"]).strip('"') if isinstance(file, str) else file.sha256


def _api_error(error: HTTPError, address: str) -> ApiError:
    try:
        told = json.loads(error.read())
        code, message = str(told["code"]), str(told["message"])
        retry_after = told.get("retry_after")
    except (ValueError, KeyError, TypeError, AttributeError):
        code, retry_after = f"http_{error.code}", None
        message = f"{address} answered {error.reason}; is it a Lockstep server?"
    return ApiError(status=error.code, code=code, message=message, retry_after=retry_after)
