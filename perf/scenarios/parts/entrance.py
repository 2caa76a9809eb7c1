"""The way in: logins with a password, and devices registered with them; what hashing takes of it is told apart.

Password hashes are slow on purpose, so the rate of logins is the rate of hashes, and grows with cores.
"""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from perf.coverage import Covered
from perf.history.testimony import clock
from perf.load.rest import NoAnswer, Rest
from perf.measure.latency import Latency
from perf.rig.database import connected
from perf.rig.environment import Environment
from perf.scenarios.parts.guests import Guests

# Logins under way: so many that the cores are busy all the time, but not in the quick form, which has few.
AT_ONCE, QUICK_AT_ONCE = 4, 1
ALONE, QUICK_ALONE = 3, 0  # logins one by one, for the time of a single one
STORED = "SELECT password FROM presence_user WHERE username = %s"


@dataclass(kw_only=True)
class Entrance:
    """What was measured at the door. Rates are per second; `hash_ms` is one hash on this machine, by the rig itself."""

    rest: Rest
    names: Sequence[str]
    password: str
    quick: bool = False
    alone: Latency = field(default_factory=Latency)
    login: Latency = field(default_factory=Latency)
    register: Latency = field(default_factory=Latency)
    logins: int = 0
    seconds: float = 0.0
    hash_ms: float | None = None
    checks: dict[str, tuple[int, int]] = field(default_factory=dict)  # how often checked, and held
    errors: list[str] = field(default_factory=list)
    _began: float = 0.0

    async def work(self, seconds: float) -> None:
        """Log in one by one, then for so many seconds AT_ONCE at a time, and be refused. Raises NoAnswer.

        In the quick form all of that at once: each password takes most of a second, and there are two cores.
        """
        for number in range(QUICK_ALONE if self.quick else ALONE):
            await self._enter(self.names[0], f"alone-{number}", self.alone)
        self._began = clock()
        workers = range(QUICK_AT_ONCE if self.quick else AT_ONCE)
        work = [self._keep_entering(worker, seconds) for worker in workers]
        if self.quick:
            work.append(self._be_refused())
        await asyncio.gather(*work)
        self.seconds = clock() - self._began
        if not self.quick:
            await self._be_refused()

    async def _keep_entering(self, worker: int, seconds: float) -> None:
        number = 0
        while clock() < self._began + seconds:
            name = self.names[(worker + number * AT_ONCE) % len(self.names)]
            await self._enter(name, f"{worker}-{number}", self.login)
            self.logins += 1
            number += 1

    async def _enter(self, name: str, installation: str, times: Latency) -> None:
        """Log in, register a device, and register it again: the same device with a new token."""
        begun = clock()
        answer = await self.rest.ask(
            "POST", "/api/login", body={"username": name, "password": self.password}
        )
        times.record(clock() - begun)
        self._check("the right password is let in", held=answer.status == 200)
        proof = str(answer.json().get("login", ""))
        first = await self._register(proof, installation)
        second = await self._register(proof, installation)
        same = "device" in first and first["device"] == second.get("device")
        self._check("registering twice gives the same device", held=same)
        new = await self.rest.ask("GET", "/api/devices", token=str(second.get("token", "")))
        old = await self.rest.ask("GET", "/api/devices", token=str(first.get("token", "")))
        self._check("only the newest token is good", held=(new.status, old.status) == (200, 401))

    async def _register(self, proof: str, installation: str) -> dict[str, Any]:
        begun = clock()
        answer = await self.rest.ask(
            "POST", "/api/devices", login=proof, body={"installation": installation}
        )
        self.register.record(clock() - begun)
        return answer.json()

    async def _be_refused(self) -> None:
        """A wrong password and a forged login are refused with a code."""
        given = {"username": self.names[0], "password": "x"}
        wrong = await self.rest.ask("POST", "/api/login", body=given)
        typed = wrong.status == 401 and wrong.json().get("code") == "wrong_password"
        self._check("a wrong password is refused, typed", held=typed)
        forged = await self.rest.ask("POST", "/api/devices", login="x", body={"installation": "x"})
        typed = forged.status == 401 and forged.json().get("code") == "unauthorized"
        self._check("a forged login is refused, typed", held=typed)

    def _check(self, name: str, *, held: bool) -> None:
        checked, times = self.checks.get(name, (0, 0))
        self.checks[name] = (checked + 1, times + held)

    def coverage(self) -> list[Covered]:
        """The checks as properties."""
        return [
            Covered(name=name, kind="always", checked=checked, held=held)
            for name, (checked, held) in self.checks.items()
        ]

    def figures(self) -> dict[str, Any]:
        """What a report shows."""
        alone = self.alone.percentile(50)
        return {
            "logins_per_s": round(self.logins / self.seconds, 2) if self.seconds else None,
            "login_p50_ms": self.login.percentile(50),
            "login_p99_ms": self.login.percentile(99),
            "login_alone_p50_ms": alone,
            "password_hash_ms": self.hash_ms,
            "login_without_hash_ms": None
            if alone is None or self.hash_ms is None
            else round(max(alone - self.hash_ms, 0.0), 2),
            "register_p50_ms": self.register.percentile(50),
            "register_p99_ms": self.register.percentile(99),
            "registered": self.register.count,
        }


async def measure(
    place: Environment, rest: Rest, guests: Guests, *, seconds: float, quick: bool = False
) -> Entrance:
    """Log in and register for so many seconds, as these guests. Raises psycopg.Error.

    In the quick form nobody logs in alone, so the time of a hash is compared with nothing, and not taken.
    """
    found = Entrance(rest=rest, names=guests.names, password=guests.password, quick=quick)
    if not quick:
        found.hash_ms = await _hash_ms(place, found.names[0], found.password)
    try:
        await found.work(seconds)
    except NoAnswer as error:
        found.errors.append(str(error))
    return found


async def _hash_ms(place: Environment, name: str, password: str) -> float | None:
    """Hash the password as the server stored it; None if we do not know how."""
    if place.database_url is None:
        return None
    async with connected(place.database_url) as connection:
        row = await (await connection.execute(STORED, [name])).fetchone()
    parts = str(row[0]).split("$") if row else []
    if len(parts) != 4 or parts[0] != "pbkdf2_sha256":
        return None
    return await asyncio.to_thread(_timed_hash, password, *parts[1:])


def _timed_hash(password: str, iterations: str, salt: str, stored: str) -> float | None:
    """Django's default (PBKDF2, RFC 8018, with HMAC-SHA-256); None if it is not what is stored."""
    begun = perf_counter()
    made = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), int(iterations))
    took = perf_counter() - begun
    return round(took * 1000, 2) if b64encode(made).decode() == stored else None
