"""People in every relation to one conversation, and what each may try on a real server.

The author has two devices, the phone and its sister; the stay of the former member ended after the message was
written. Whatever a try uses up (a message, a member, a code) is made anew for each, by plain SQL.
"""

from __future__ import annotations

import http.client
import json
import secrets
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from django.test import Client

from presence.models import User
from tests import scene
from tests.scene import Psql, Room, Seat

ROLES = (
    *("nobody", "revoked", "inactive", "stranger", "former"),
    *("member", "admin", "phone", "sister", "staff", "root"),
)
WAIT_S = 100.0  # for an answer: on a busy machine ten passwords take a while
FILE = "\r\n".join(
    [
        "--b",
        'Content-Disposition: form-data; name="file"; filename="a.txt"',
        "Content-Type: text/plain",
        "",
        "{}",
        "--b--",
        "",
    ]
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Status and body of an answer."""

    status: int
    body: bytes
    headers: http.client.HTTPMessage

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class World:
    """The conversation, its people by role, and a line to the server."""

    def __init__(self, sql: Psql, port: int) -> None:
        self.sql, self.port = sql, port
        self.seats: dict[str, Seat] = {
            name: scene.new_seat(sql)
            for name in ("stranger", "former", "member", "admin", "phone", "inactive")
        }
        self.seats["sister"] = scene.new_seat(sql, self.author)
        self.seats["revoked"] = scene.new_seat(sql, self.seats["member"].user)
        self.room: Room = scene.new_room(
            sql, *(self.seats[name] for name in ("phone", "member", "former", "inactive"))
        )
        scene.join(sql, self.room.id, self.seats["admin"].user, "admin")
        self.message = self.new_message()
        self.file = self.new_file(self.message)
        self.version = 2  # the file is a change of the message
        scene.leave(sql, self.room.id, self.seats["former"].user)
        scene.revoke(sql, self.seats["revoked"].device)
        sql.execute(
            "UPDATE presence_user SET is_active = false WHERE id = %s",
            [self.seats["inactive"].user],
        )
        self.cookies = {"staff": _cookie(is_staff=True), "root": _cookie(is_superuser=True)}

    @property
    def author(self) -> str:
        return self.seats["phone"].user

    # What a try uses up

    def new_message(self) -> str:
        """A message of the author's phone."""
        phone = self.seats["phone"].device
        return str(
            scene.one(
                self.sql,
                "INSERT INTO messaging_message (conversation_id, device_id, client_id, body)"
                " VALUES (%s, %s, %s, 'hello') RETURNING id::text",
                *(self.room.id, phone, str(uuid4())),
            )
        )

    def new_file(self, message: str | None = None) -> str:
        """An upload of the author's phone, of the message if one is given. Its content is uploaded, too."""
        uploaded = self.ask("phone", "POST", "/api/files", FILE.format(secrets.token_hex(8)))
        assert uploaded.status == 201
        if message is not None:
            self.sql.execute(
                "UPDATE messaging_attachment SET message_id = %s WHERE id = %s",
                [message, uploaded.json["id"]],
            )
        return str(uploaded.json["id"])

    def new_member(self) -> str:
        """A user who is in the conversation."""
        user = scene.new_user(self.sql)
        scene.join(self.sql, self.room.id, user)
        return user

    def new_device(self, role: str) -> str:
        """Another device of the user, or of the author for who has none."""
        seat = self.seats.get(role, self.seats["phone"])
        return scene.new_seat(self.sql, seat.user).device

    def new_code(self) -> str:
        """A code of the author's phone."""
        return str(self.ask("phone", "POST", "/api/devices/link-codes").json["code"])

    # Asking

    def ask(self, role: str, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Ask as this role: with its device's token, with its cookie, or with nothing."""
        if role in self.seats:
            headers["Authorization"] = f"Bearer {self.seats[role].token}"
        elif role in self.cookies:
            headers["Cookie"] = f"sessionid={self.cookies[role]}"
        form = isinstance(body, str)
        headers["Content-Type"] = "multipart/form-data; boundary=b" if form else "application/json"
        content = body if form or body is None else json.dumps(body)
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            line.request(method, path, content, headers)
            answer = line.getresponse()
            return Answer(status=answer.status, body=answer.read(), headers=answer.headers)
        finally:
            line.close()


def _cookie(**rights: bool) -> str:
    """The session of a new user of the admin."""
    rights["is_staff"] = True
    user = User.objects.create_user(f"w{secrets.token_hex(6)}", **rights)
    client = Client()
    client.force_login(user)
    return str(client.cookies["sessionid"].value)
