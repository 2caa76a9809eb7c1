"""Users of our own, with a password, of whom the history knows nothing: they knock at the door, and one of them fuzzes."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import Any

from perf.load.known import Known
from perf.load.rest import NoAnswer, Rest
from perf.rig import environment as environments
from perf.rig.accounts import Account
from perf.rig.environment import Crowd, Environment

USERS = 8  # so many that the door's logins are of several
PREFIX = "perf-guest"
# What the fuzzer has. It deletes and leaves some of it on its way.
CONVERSATIONS, MEMBERS, MESSAGES, FILES = 3, 2, 4, 3


@dataclass(frozen=True, kw_only=True)
class Guests:
    """A device of each, all with the same password."""

    accounts: list[Account]
    password: str

    @property
    def names(self) -> list[str]:
        """Their user names."""
        return [one.username for one in self.accounts]


async def invite(place: Environment) -> Guests | None:
    """Make them; nobody but in a private environment. Raises RigError."""
    if place.logs is None:
        return None
    password = secrets.token_urlsafe(12)
    accounts = await environments.provision(
        Crowd(conversations=1, members=USERS),
        env=place.env,
        logs=place.logs,
        prefix=PREFIX,
        password=password,
    )
    return Guests(accounts=accounts, password=password)


async def furnish(rest: Rest, guests: Guests, *, proof: bool) -> Known:
    """Give the last guest something of everything; with a `proof` it has logged in, too. Raises NoAnswer.

    The other users are no secret to it: it may ask about them, add them and send them away.
    """
    *others, own = guests.accounts
    opened = [_open(rest, own, others[:MEMBERS]) for _ in range(CONVERSATIONS)]
    rooms = await asyncio.gather(*opened)
    files = await asyncio.gather(*(_upload(rest, own, n) for n in range(FILES)))
    code = await _asked(rest, "/api/devices/link-codes", token=own.token)
    login = {"username": own.username, "password": guests.password}
    proven = await _asked(rest, "/api/login", body=login) if proof else {}
    return Known(
        values={
            "conversations": [room for room, _ in rooms],
            "messages": [message for _, messages in rooms for message in messages],
            "users": [one.user for one in others],
            "files": files,
            "codes": [code["code"]],
            "names": [own.username],
            "passwords": [guests.password],
            "versions": [1],
        },
        proof=proven.get("login", ""),
    )


async def _open(rest: Rest, own: Account, others: list[Account]) -> tuple[str, list[str]]:
    """A conversation with messages; their ids."""
    body = {"title": "of the fuzzer", "members": [{"user": one.user} for one in others]}
    room = (await _asked(rest, "/api/conversations", token=own.token, body=body))["conversation"]
    said = [
        await _asked(
            rest,
            f"/api/conversations/{room}/messages",
            token=own.token,
            body={"client_id": secrets.token_hex(8), "body": f"message {number}"},
        )
        for number in range(MESSAGES)
    ]
    return room, [one["message"] for one in said]


async def _upload(rest: Rest, own: Account, number: int) -> str:
    answer = await rest.upload(
        "/api/files", name=f"{number}.txt", content=b"of the fuzzer", token=own.token
    )
    return str(answer.json()["id"])


async def _asked(rest: Rest, path: str, **about: Any) -> dict[str, Any]:
    """The answer to a POST that must not be refused. Raises NoAnswer."""
    answer = await rest.ask("POST", path, **about)
    if answer.status >= 300:
        raise NoAnswer(f"POST {path}: {answer.status} {answer.body.decode(errors='replace')[:200]}")
    return answer.json()
