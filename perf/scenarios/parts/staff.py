"""A person at the admin: logs in with a browser's cookies and adds messages by its form."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from http.client import HTTPMessage, HTTPResponse
from http.cookiejar import CookieJar
from typing import IO
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, Request, build_opener

PATIENCE_S = 30.0
FOUND = 302  # how the admin answers a form that it took
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
LOGIN, ADD = "/admin/login/", "/admin/messaging/message/add/"


class AdminRefused(OSError):
    """The admin did not take a form."""


class _Stay(HTTPRedirectHandler):
    """Follow no redirect: the page behind it is not what is measured."""

    def redirect_request(  # noqa: PLR0917 - the library's signature
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """No new request."""


class Staff:
    """One browser. It blocks, so every call goes to a thread."""

    def __init__(self, url: str) -> None:
        self._url, self._token = url, ""
        self._opener = build_opener(HTTPCookieProcessor(CookieJar()), _Stay())

    async def log_in(self, name: str, password: str) -> None:
        """Log in. Raises AdminRefused."""
        await asyncio.to_thread(self._fill, LOGIN, {"username": name, "password": password})
        self._token = await asyncio.to_thread(self._form, ADD)

    async def add(self, conversation: str, text: str) -> None:
        """Add a message; returns when the admin has taken it. Raises AdminRefused."""
        fields = {"conversation": conversation, "kind": "text", "body": text, "reply_to": ""}
        await asyncio.to_thread(self._post, ADD, {**fields, "csrfmiddlewaretoken": self._token})

    def _fill(self, path: str, fields: Mapping[str, str]) -> None:
        self._post(path, {**fields, "csrfmiddlewaretoken": self._form(path)})

    def _form(self, path: str) -> str:
        """The token of the form on this page."""
        with self._open(path) as answer:
            found = TOKEN.search(answer.read().decode())
        if found is None:
            raise AdminRefused(f"{path} has no form")
        return found.group(1)

    def _post(self, path: str, fields: Mapping[str, str]) -> None:
        try:
            with self._open(path, urlencode(fields).encode()) as answer:
                raise AdminRefused(f"{path} was shown again ({answer.status})")
        except HTTPError as error:
            with error:
                if error.code != FOUND:
                    raise AdminRefused(f"{path} was answered with {error.code}") from None

    def _open(self, path: str, form: bytes | None = None) -> HTTPResponse:
        answer: HTTPResponse = self._opener.open(self._url + path, form, timeout=PATIENCE_S)
        return answer
