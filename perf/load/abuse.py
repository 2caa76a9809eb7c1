"""Devices that keep no limits: one floods alone, another sends what is too large. Each hears what it is told.

What was promised to them is kept by key, so that the database can be asked for it afterwards.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count

from messaging.protocol import frames
from messaging.protocol.errors import CloseCode, Refusal
from perf.coverage import Covered
from perf.load.stranger import Stranger
from perf.rig.accounts import Account
from perf.rig.database import Connection

AT_ONCE = 100  # frames of one WebSocket message
TYPED = {refusal.code for refusal in Refusal}
STORED = "SELECT client_id, count(*) FROM messaging_message WHERE client_id = ANY (%s) GROUP BY 1"


@dataclass(kw_only=True)
class Told:
    """What abusers were told, all sessions together."""

    promised: set[str] = field(default_factory=set)  # client_ids that were answered with `ok`
    refusals: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)  # close code and goodbye, by session
    untimed: int = 0  # `overloaded` without the time after which to repeat
    sent: int = 0
    welcomed: int = 0

    def hear(self, frame: frames.ServerFrame) -> None:
        """Note an answer."""
        self.welcomed += isinstance(frame, frames.Welcome)
        if isinstance(frame, frames.Ok) and frame.client_id is not None:
            self.promised.add(frame.client_id)
        elif isinstance(frame, frames.Error):
            self.refusals[frame.code] += 1
            self.untimed += frame.code == Refusal.OVERLOADED.code and not frame.retry_after

    def ended(self, stranger: Stranger) -> None:
        """Note how a session ended."""
        self.ends[f"{stranger.code} {stranger.goodbye or 'without goodbye'}"] += 1

    def covered(self, who: str) -> list[Covered]:
        """Every refusal is of a known type, and `overloaded` says when to repeat."""
        refused = sum(self.refusals.values())
        typed = sum(n for code, n in self.refusals.items() if code in TYPED)
        overloaded = self.refusals[Refusal.OVERLOADED.code]
        return [
            Covered(
                name=f"a refusal of {who} was typed", kind="always", checked=refused, held=typed
            ),
            Covered(
                name=f"{who}: overloaded, with the time after which to repeat",
                kind="always",
                checked=overloaded,
                held=overloaded - self.untimed,
            ),
        ]


async def lost(connection: Connection, promised: Iterable[str]) -> int:
    """How many promised keys are not stored exactly once. Raises psycopg.Error."""
    keys = list(promised)
    rows = await (await connection.execute(STORED, [keys])).fetchall()
    return len(keys) - sum(int(times) == 1 for _, times in rows)


class Flooder:
    """One device that sends as fast as its socket takes it, and comes back when it is thrown out."""

    def __init__(self, url: str, account: Account, *, prefix: str, edits: bool = False) -> None:
        self.told = Told()
        self._url, self._account, self._edits = url, account, edits
        self._keys = (f"{prefix}-{number}" for number in count(1))

    async def run(self, going_on: Callable[[], bool]) -> None:
        """Flood, session after session."""
        while going_on():
            stranger = Stranger(self._url)
            try:
                await stranger.enter(self._account.token)
                await self._session(stranger, going_on)
            except* (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.1)
            finally:
                stranger.leave()

    async def _session(self, stranger: Stranger, going_on: Callable[[], bool]) -> None:
        """Once welcomed, flood and listen at once."""
        async with asyncio.TaskGroup() as group:
            sending: asyncio.Task[None] | None = None
            async for frame in stranger.hear():
                self.told.hear(frame)
                if isinstance(frame, frames.Welcome):
                    sending = group.create_task(self._flood(stranger, going_on))
            self.told.ended(stranger)
            if sending is not None:
                sending.cancel()

    async def _flood(self, stranger: Stranger, going_on: Callable[[], bool]) -> None:
        while going_on():
            going = [self._frame() for _ in range(AT_ONCE)]
            self.told.sent += len(going)
            stranger.say(going)
            await stranger.drain()
            await asyncio.sleep(0)
        await asyncio.sleep(1)  # for the answers to what is under way
        stranger.message((1000).to_bytes(2, "big"), opcode=0x8)

    def _frame(self) -> frames.Frame:
        key = next(self._keys)
        if self._edits:
            return frames.Edit(message=str(uuid.uuid4()), base_version=1, client_id=key, body="?")
        return frames.Send(conversation=self._account.conversations[0], client_id=key, body=key)


class Heavy:
    """One device that sends bodies at the limit, bodies beyond it, and a frame beyond every limit."""

    def __init__(self, url: str, account: Account, *, prefix: str) -> None:
        self.told = Told()
        self.at_limit = self.beyond = self.cut = self.rounds = 0
        self._url, self._account, self._prefix = url, account, prefix

    async def run(self, going_on: Callable[[], bool]) -> None:
        """Round after round, each on a connection of its own."""
        while going_on():
            self.rounds += 1
            stranger = Stranger(self._url)
            try:
                await stranger.enter(self._account.token)
                await self._round(stranger)
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.1)
            finally:
                stranger.leave()
            await asyncio.sleep(0.2)

    async def _round(self, stranger: Stranger) -> None:
        answers = 0
        async for frame in stranger.hear():
            self.told.hear(frame)
            if isinstance(frame, frames.Welcome):
                self._send_both(stranger)
            key = getattr(frame, "client_id", None) or ""
            if key.startswith(self._prefix) and isinstance(frame, (frames.Ok, frames.Error)):
                answers += 1
                self.at_limit += isinstance(frame, frames.Ok) and "-most-" in key
                self.beyond += (
                    isinstance(frame, frames.Error) and frame.code == Refusal.TOO_LARGE.code
                )
                if answers == 2:
                    stranger.message(b"x" * (frames.MAX_FRAME_BYTES + 1))
        self.told.ended(stranger)
        self.cut += stranger.code == CloseCode.TOO_LARGE

    def _send_both(self, stranger: Stranger) -> None:
        conversation = self._account.conversations[0]
        for name, size in (("most", frames.MAX_BODY_BYTES), ("more", frames.MAX_BODY_BYTES + 1)):
            key = f"{self._prefix}-{name}-{self.rounds}"
            self.told.sent += 1
            stranger.say([frames.Send(conversation=conversation, client_id=key, body="x" * size)])

    def covered(self) -> list[Covered]:
        """What each round must have met."""
        met = {
            "a body of the greatest size was stored": self.at_limit,
            "a body beyond it was refused as too_large, and the session went on": self.beyond,
            "a frame beyond the limit was answered with close code 1009": self.cut,
        }
        return [
            Covered(name=name, kind="sometimes", checked=self.rounds, held=n)
            for name, n in met.items()
        ]
