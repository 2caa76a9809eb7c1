"""One idempotency key on several connections at once: whoever comes first is stored, the others get its result."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle

from messaging.protocol import frames
from messaging.protocol.codec import JSON, MSGPACK
from perf.history.testimony import clock
from perf.load.rest import Rest
from perf.measure.latency import Latency
from perf.rig.accounts import Account
from perf.rig.database import Connection
from perf.scenarios.parts.checks import Checks
from perf.scenarios.parts.plain import Plain, plain

PAUSE_S = 0.1  # between two keys, of which each takes two requests over REST
REUSED = "client_id_reused"
ONE_RESULT = "parallel requests under one key get one and the same result"
OTHERS_REFUSED = "other content under a used key is refused as `client_id_reused`"
STORED_ONCE = "what was asked several times under one key is stored once"
ROWS = "SELECT count(*) FROM messaging_message WHERE device_id = %s AND client_id = %s"


@dataclass(frozen=True, kw_only=True)
class Said:
    """An answer: where the message is, or the code of a refusal."""

    message: str | None = None
    seq: int | None = None
    code: str = ""


@dataclass(kw_only=True)
class Keys:
    """One device on four connections: a WebSocket and REST on each of two servers."""

    account: Account
    sockets: Sequence[Plain]
    apis: Sequence[Rest]
    connection: Connection
    checks: Checks
    asked: int = 0
    took: Latency = field(default_factory=Latency)

    async def run(self, *, until_s: float) -> None:
        """Use one key after the other, every third one with two different contents."""
        for differs in cycle((False, False, True)):
            if clock() >= until_s:
                return
            await self._use(secrets.token_hex(8), differs=differs)
            await asyncio.sleep(PAUSE_S)

    async def _use(self, key: str, *, differs: bool) -> None:
        bodies = [f"key {key}"] * 4
        if differs:
            bodies[2] = f"another content of {key}"
        begun = clock()
        answers = await asyncio.gather(
            *(self._say(one, key, body) for one, body in zip(self.sockets, bodies, strict=False)),
            *(self._post(one, key, body) for one, body in zip(self.apis, bodies[2:], strict=True)),
        )
        self.took.record(clock() - begun)
        self.asked += len(answers)
        taken = {one for one in answers if not one.code}
        self.checks.note(ONE_RESULT, held=len(taken) == 1, witness=f"{key}: {answers}")
        if differs:
            same = [body for body, one in zip(bodies, answers, strict=True) if not one.code]
            codes = {one.code for one in answers if one.code}
            held = len(set(same)) == 1 and codes == {REUSED}
            self.checks.note(OTHERS_REFUSED, held=held, witness=f"{key}: {answers}")
        row = await (await self.connection.execute(ROWS, [self.account.device, key])).fetchone()
        self.checks.note(STORED_ONCE, held=row == (1,), witness=f"{key}: {row}")

    async def _say(self, session: Plain, key: str, body: str) -> Said:
        place = self.account.conversations[0]
        answer = await session.ask(frames.Send(conversation=place, client_id=key, body=body))
        if isinstance(answer, frames.Error):
            return Said(code=answer.code)
        return Said(message=answer.message, seq=answer.seq)

    async def _post(self, api: Rest, key: str, body: str) -> Said:
        path = f"/api/conversations/{self.account.conversations[0]}/messages"
        given = {"client_id": key, "body": body}
        answer = (await api.ask("POST", path, token=self.account.token, body=given)).json()
        if "seq" not in answer:
            return Said(code=str(answer.get("code")))
        return Said(message=str(answer["message"]), seq=int(answer["seq"]))


@asynccontextmanager
async def keys(
    urls: Sequence[str], account: Account, connection: Connection, checks: Checks
) -> AsyncIterator[Keys]:
    """Such connections of one device, for the time inside. Raises OSError, TimeoutError."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        sockets = [
            await enter(plain(url, account, codec=codec))
            for url, codec in zip(urls, (JSON, MSGPACK), strict=True)
        ]
        apis = [Rest(url) for url in urls]
        for one in apis:
            stack.push_async_callback(one.close)
        yield Keys(
            account=account, sockets=sockets, apis=apis, connection=connection, checks=checks
        )
