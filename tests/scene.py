"""A room with people and their devices, made by plain SQL, and the patience of all tests.

Each scene has users and a room of its own, so tests share a database without emptying it in between.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from django.db import connections

from presence.tokens import new_token

T = TypeVar("T")
Psql = psycopg.Connection[Any]

PATIENCE_S = 20.0  # reached only when a promise is broken
LOOK_S = 0.005


async def eventually(
    look: Callable[[], T], *, within: float = PATIENCE_S, what: Callable[[], object] | None = None
) -> T:
    """Look until the answer is true, then return it. Readiness only: what is asserted comes after."""
    deadline = time.monotonic() + within
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what() if what else look}")
        await asyncio.sleep(LOOK_S)
    return found


def connect(**overrides: Any) -> Psql:
    """A connection of its own to the test database, as psql would open it."""
    parameters = connections["default"].get_connection_params() | overrides
    for ours in ("cursor_factory", "context", "prepare_threshold", "pool"):
        parameters.pop(ours, None)
    return psycopg.connect(**parameters, autocommit=True)


def database_url() -> str:
    """The address of the test database, for processes of their own."""
    given = os.environ["DATABASE_URL"]
    name = connections["default"].settings_dict["NAME"]
    return urlsplit(given)._replace(path=f"/{name}").geturl()


@dataclass(frozen=True, kw_only=True)
class Seat:
    """A device and what its owner knows of it."""

    device: str
    user: str
    token: str


@dataclass(frozen=True, kw_only=True)
class Room:
    """A conversation and the devices of its members, one each."""

    id: str
    seats: tuple[Seat, ...]

    @property
    def first(self) -> Seat:
        return self.seats[0]

    @property
    def second(self) -> Seat:
        return self.seats[1]


def new_user(psql: Psql) -> str:
    """The id of a new user."""
    name = f"u{secrets.token_hex(6)}"
    statement = """
        INSERT INTO presence_user (username, password, first_name, last_name, email, is_superuser,
                                   is_staff, is_active, date_joined)
        VALUES (%s, '', '', '', '', false, false, true, now()) RETURNING id::text"""
    return str(one(psql, statement, name))


def new_seat(psql: Psql, user: str | None = None) -> Seat:
    """A new device, of a new user unless one is given."""
    owner = user or new_user(psql)
    token, digest = new_token()
    device = one(
        psql,
        "INSERT INTO presence_device (user_id, installation, token_hash) VALUES (%s, %s, %s)"
        " RETURNING id::text",
        *(owner, str(uuid4()), digest),
    )
    return Seat(device=device, user=owner, token=token)


def new_room(psql: Psql, *seats: Seat, history: str = "all") -> Room:
    """A new group with these devices' users; two new users without any given."""
    seated = seats or (new_seat(psql), new_seat(psql))
    room = one(
        psql,
        "INSERT INTO messaging_conversation (history) VALUES (%s) RETURNING id::text",
        history,
    )
    for user in dict.fromkeys(seat.user for seat in seated):
        join(psql, room, user)
    return Room(id=room, seats=seated)


def join(psql: Psql, room: str, user: str, role: str = "member") -> None:
    """Add a member, past all APIs."""
    psql.execute(
        "INSERT INTO messaging_membership (conversation_id, user_id, role) VALUES (%s, %s, %s)",
        [room, user, role],
    )


def leave(psql: Psql, room: str, user: str) -> int:
    """Remove a member, past all APIs; returns the number of the fence."""
    where = "conversation_id = %s AND user_id = %s"
    psql.execute(
        f"DELETE FROM messaging_membership WHERE {where} AND left_seq IS NULL", [room, user]
    )
    left = psql.execute(
        f"SELECT max(left_seq) FROM messaging_membership WHERE {where}", [room, user]
    )
    return int((left.fetchone() or (0,))[0])


def insert(psql: Psql, room: str, body: str) -> str:
    """Write a message past the journal; returns its id."""
    message = one(
        psql,
        "INSERT INTO messaging_message (conversation_id, body) VALUES (%s, %s) RETURNING id::text",
        *(room, body),
    )
    return str(message)


def damage(psql: Psql, room: str, created: str = "infinity") -> None:
    """Give the messages of a conversation a date of which no page can be made, as a fault of the disk may, or one that can be read."""
    with psql.transaction():
        psql.execute("SET LOCAL lockstep.writer = 'journal'")
        statement = "UPDATE messaging_message SET created = %s WHERE conversation_id = %s"
        psql.execute(statement, [created, room])


def revoke(psql: Psql, device: str) -> None:
    """Revoke a device with plain SQL, without waiting for the fence."""
    psql.execute("UPDATE presence_device SET revoked = now() WHERE id = %s", [device])


def last_seq(psql: Psql, room: str) -> int:
    """The number of a conversation's last change."""
    return int(one(psql, "SELECT last_seq FROM messaging_conversation WHERE id = %s", room))


def bodies(psql: Psql, room: str) -> list[str]:
    """What people said, in the order of `position`."""
    return [
        row[0]
        for row in psql.execute(
            "SELECT body FROM messaging_message WHERE conversation_id = %s AND kind <> 'system'"
            " ORDER BY position",
            [room],
        )
    ]


def count(psql: Psql, table: str, where: str = "true", *parameters: object) -> int:
    """How many rows of a table there are."""
    return int(one(psql, f"SELECT count(*) FROM {table} WHERE {where}", *parameters))


def sessions(psql: Psql, device: str) -> int:
    """How many sessions of a device are listed."""
    return count(psql, "presence_connection", "device_id = %s", device)


def one(psql: Psql, statement: str, *parameters: object) -> Any:
    """The first column of the first row."""
    row = psql.execute(statement.encode(), parameters).fetchone()
    assert row is not None
    return row[0]
