"""What is secret is in no log and no metric, with everything logged that can be, whatever goes wrong."""

from __future__ import annotations

import json
import secrets
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.sessions.backends.db import SessionStore
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from tests import scene
from tests.integration.conftest import shared_database  # noqa: F401  (a fixture)
from tests.scene import Psql
from tests.server import Server

JSON = "application/json"
FORGED = "%0A2026-01-01 00:00:00,000 1 ERROR forged: a line of a stranger"


class Talk:
    """Talks to a server, and remembers what was secret in it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.secrets: dict[str, str] = {}

    def secret(self, name: str, value: str) -> str:
        self.secrets[name] = value
        return value

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Ask; the answer as JSON, or None if it is none or a refusal."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data,
            {"Content-Type": JSON, **headers},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                content = answer.read()
        except urllib.error.HTTPError as refused:
            refused.read()
            return None
        with suppress(ValueError):
            return json.loads(content)
        return None

    def socket(self, *said: str, **headers: str) -> None:
        """Say these frames, and hear what comes of each."""
        with (
            suppress(WebSocketException, TimeoutError),
            connect(
                f"ws://127.0.0.1:{self.port}/ws/",
                subprotocols=["lockstep.v1.json"],  # type: ignore[list-item]
                additional_headers=headers,
            ) as socket,
        ):
            for frame in said:
                socket.send(frame)
                socket.recv(timeout=5)


def everything(talk: Talk, sql: Psql) -> None:
    """Log in, link, rotate, send and upload: rightly, and wrongly in every way."""
    password = talk.secret("password", secrets.token_urlsafe(12))
    user = scene.new_user(sql)
    name = scene.one(
        sql,
        "UPDATE presence_user SET password = %s, is_staff = true WHERE id = %s RETURNING username",
        *(PBKDF2PasswordHasher().encode(password, "salt-of-this-test"), user),
    )
    wrong = talk.secret("wrong password", secrets.token_urlsafe(12))
    talk.ask("POST", "/api/login", {"username": name, "password": wrong})
    proof = talk.ask("POST", "/api/login", {"username": name, "password": password})["login"]
    talk.secret("proof", proof)
    login = {"Authorization": f"Login {proof}"}
    old = talk.ask("POST", "/api/devices", {"installation": "i"}, **login)["token"]
    talk.secret("old token", old)
    token = talk.ask("POST", "/api/devices/token", **bearer(old))["token"]
    talk.secret("token", token)
    talk.ask("GET", "/api/devices", **bearer(old))
    code = talk.ask("POST", "/api/devices/link-codes", **bearer(token))["code"]
    talk.secret("code", code)
    talk.secret("typed code", code.replace("-", "").lower())
    bad = talk.secret("wrong code", "ZZZZ-" + secrets.token_hex(2).upper())
    talk.ask("POST", "/api/devices/link", {"code": bad, "installation": "j"})
    talk.ask("POST", "/api/devices/link", {"code": code, "installation": "\x00"})
    linked = talk.ask("POST", "/api/devices/link", {"code": code, "installation": "j"})
    talk.secret("linked token", linked["token"])
    messages(talk, sql, user, token)
    admin(talk, name, password)


def messages(talk: Talk, sql: Psql, user: str, token: str) -> None:
    """What people write and upload, by REST and by frames; some of it is refused."""
    body = talk.secret("body", secrets.token_urlsafe(16))
    room = scene.new_room(sql, scene.new_seat(sql, user)).id
    path = f"/api/conversations/{room}/messages"
    talk.ask("POST", path, {"client_id": "a", "body": body}, **bearer(token))
    talk.ask("POST", path, {"client_id": "b", "body": body, "kind": "data"}, **bearer(token))
    talk.ask("POST", path, f'{{"body": "{body}", '.encode(), **bearer(token))
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n%b\r\n--b--\r\n'
    content = talk.secret("content", secrets.token_urlsafe(16)).encode()
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    for data in (part % content, part[:60] + content):
        talk.ask("POST", "/api/files", data, **bearer(token) | form)
    talk.ask("GET", f"/api/nowhere{FORGED}".replace(" ", "%20"), **bearer(token))
    sent = {"type": "send", "conversation": room, "client_id": "c", "body": body}
    hello = {"type": "hello", "token": token}
    talk.socket(json.dumps(hello), json.dumps(sent), json.dumps(sent | {"kind": "data"}))
    talk.socket(json.dumps({"type": "hello"}), **bearer(token))
    talk.socket(
        json.dumps(hello | {"cursors": 7}), f"{token}", json.dumps(hello | {"token": [token]})
    )
    talk.socket(json.dumps(hello | {"token": talk.secret("stray token", "stray" + token[5:])}))


def admin(talk: Talk, name: str, password: str) -> None:
    """The cookie of a session, and a log-in by the form that its token is missing of."""
    session = SessionStore()
    key = talk.secret("session", session._get_new_session_key())  # type: ignore[attr-defined]
    cookie = {"Cookie": f"sessionid={key}; csrftoken={talk.secret('csrf', secrets.token_hex(16))}"}
    talk.ask("GET", "/admin/", **cookie)
    talk.ask("GET", "/metrics", **cookie)
    form = f"username={name}&password={password}".encode()
    talk.ask("POST", "/admin/login/", form, **{"Content-Type": "application/x-www-form-urlencoded"})


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.long
@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["uvicorn", "daphne"])
def test_no_secret_is_in_a_log_or_a_metric(
    kind: str,
    shared_database: None,  # noqa: F811
    redis_url: str,
    django_db_blocker: Any,
    tmp_path: Path,
) -> None:
    log = tmp_path / "serve.log"
    key = secrets.token_urlsafe(40)
    own = {"DATABASE_URL": scene.database_url(), "REDIS_URL": redis_url}
    server = Server(kind, own | {"LOG_LEVEL": "DEBUG", "SECRET_KEY": key}, log=log)
    try:
        talk = Talk(server.port)
        talk.secret("key", key)
        with django_db_blocker.unblock(), scene.connect() as sql:
            everything(talk, sql)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
            metrics = answer.read().decode()
    finally:
        server.stop()
    said = log.read_text()
    assert " DEBUG " in said, "it logs less than it could"
    assert "Unauthorized: /api/devices" in said, "what was refused is not logged here"
    told = [name for name, value in talk.secrets.items() if value in said or value in metrics]
    assert told == []
    assert [line for line in said.splitlines() if line.startswith("2026-01-01")] == []
