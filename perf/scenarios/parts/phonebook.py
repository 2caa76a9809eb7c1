"""People who begin as anybody does: a password, a device, a conversation, a link code for the next device."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perf.load.rest import NoAnswer, Rest
from perf.rig import children
from perf.rig.accounts import Account
from perf.rig.children import RigError, manage
from perf.rig.environment import Environment

PREFIX = "perf-people"
MAKE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class File:
    """An uploaded file, as its uploader knows it."""

    id: str
    content: bytes

    @property
    def sha256(self) -> str:
        """Of the content, in hex."""
        return hashlib.sha256(self.content).hexdigest()


class Phonebook:
    """What is asked of the API on behalf of devices. Whatever is refused raises NoAnswer."""

    def __init__(self, rest: Rest) -> None:
        self.rest = rest

    async def log_in(self, name: str, password: str, *, installation: str) -> Account:
        """A device of the user, by password."""
        given = {"username": name, "password": password}
        proof = await self._ask("POST", "/api/login", body=given)
        about = {"installation": installation, "name": installation}
        made = await self._ask("POST", "/api/devices", login=str(proof["login"]), body=about)
        return _account(made)

    async def link(self, by: Account, *, installation: str) -> Account:
        """One more device of the same user, by a code that `by` asks for."""
        code = (await self._ask("POST", "/api/devices/link-codes", token=by.token))["code"]
        about = {"code": code, "installation": installation, "name": installation}
        return _account(await self._ask("POST", "/api/devices/link", body=about))

    async def used_code_is_refused(self, by: Account) -> bool:
        """Whether a code can be redeemed only once."""
        code = (await self._ask("POST", "/api/devices/link-codes", token=by.token))["code"]
        about = {"code": code, "installation": secrets.token_hex(8)}
        await self._ask("POST", "/api/devices/link", body=about)
        again = await self.rest.ask("POST", "/api/devices/link", body=about)
        return 400 <= again.status < 500

    async def converse(self, by: Account, other: Account) -> str:
        """A direct conversation between two users."""
        body = {"kind": "direct", "members": [{"user": other.user}]}
        made = await self._ask("POST", "/api/conversations", token=by.token, body=body)
        return str(made["conversation"])

    async def gather(self, by: Account, title: str, others: Sequence[str]) -> str:
        """A group of the asking user and these."""
        body = {"kind": "group", "title": title, "members": [{"user": user} for user in others]}
        made = await self._ask("POST", "/api/conversations", token=by.token, body=body)
        return str(made["conversation"])

    async def invite(self, by: Account, conversation: str, user: str) -> None:
        """Add somebody to a group; does nothing if they are in it."""
        path = f"/api/conversations/{conversation}/members"
        await self._ask("POST", path, token=by.token, body={"user": user})

    async def leave(self, by: Account, conversation: str) -> None:
        """Leave a group; does nothing if that was done."""
        path = f"/api/conversations/{conversation}/members/{by.user}"
        answer = await self.rest.ask("DELETE", path, token=by.token)
        if answer.status not in {200, 404}:
            raise NoAnswer(f"DELETE {path} was answered with {answer.status}")

    async def history(self, by: Account, conversation: str) -> list[dict[str, Any]]:
        """The newest page of a conversation."""
        path = f"/api/conversations/{conversation}/messages?limit=100"
        return list((await self._ask("GET", path, token=by.token))["messages"])

    async def ticks(self, by: Account, message: str) -> tuple[int, int]:
        """To how many devices a message was delivered, and by how many it was read."""
        found = await self._ask("GET", f"/api/messages/{message}/receipts", token=by.token)
        return int(found["delivered"]), int(found["read"])

    async def devices(self, by: Account) -> set[str]:
        """The ids of the user's devices that are not revoked, as one of them sees them."""
        listed = (await self._ask("GET", "/api/devices", token=by.token))["devices"]
        return {str(one["device"]) for one in listed if not one.get("revoked")}

    async def revoke(self, by: Account, device: str) -> None:
        """Revoke another device of the user; returns when nothing more reaches it."""
        await self._ask("DELETE", f"/api/devices/{device}", token=by.token)

    async def upload(self, by: Account, name: str, content: bytes) -> File:
        """Upload a file."""
        answer = await self.rest.upload("/api/files", name=name, content=content, token=by.token)
        if answer.status != 201:
            raise NoAnswer(f"POST /api/files was answered with {answer.status}")
        return File(id=str(answer.json()["id"]), content=content)

    async def fetch(self, by: Account, file: str) -> tuple[int, bytes]:
        """A file's content as a device gets it, and the status."""
        answer = await self.rest.ask("GET", f"/api/files/{file}", token=by.token)
        return answer.status, answer.body

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        token: str = "",
        login: str = "",
        body: Mapping[str, object] | None = None,
    ) -> dict[str, Any]:
        answer = await self.rest.ask(method, path, token=token, login=login, body=body)
        if not 200 <= answer.status < 300:
            said = answer.body.decode(errors="replace")[:200]
            raise NoAnswer(f"{method} {path} was answered with {answer.status}: {said}")
        return answer.json() if answer.body else {}


async def people(place: Environment, names: int) -> tuple[list[str], str]:
    """Make users with a password; return their names and it. Raises RigError."""
    if place.logs is None:
        raise RigError("only a private environment can be given users with passwords")
    password = secrets.token_urlsafe(12)
    await children.run(
        manage(
            *("provision", "--users", str(names), "--devices", "0", "--conversations", "0"),
            *("--prefix", PREFIX, f"--password={password}"),  # it may begin with a hyphen
        ),
        env=place.env,
        log=place.logs / "people.log",
        within_s=MAKE_S,
    )
    return [f"{PREFIX}-{number}" for number in range(names)], password


def _account(made: Mapping[str, Any]) -> Account:
    return Account(
        user=str(made["user"]),
        device=str(made["device"]),
        token=str(made["token"]),
        conversations=(),
    )
