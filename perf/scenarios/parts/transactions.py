"""Foreign transactions of many rows: all of them reach the devices, together, or none does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle

from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.fleet import until
from perf.rig.database import Connection
from perf.scenarios.parts.checks import Checks
from perf.scenarios.parts.rivals import Answers

ROWS, PAUSE_S, SEEN_S = 5, 0.1, 10.0
INSERT = "INSERT INTO messaging_message (conversation_id, body) SELECT %s::uuid, body FROM unnest(%s::text[]) AS body"
TOGETHER = "the rows of one transaction are shown to every device under consecutive numbers"
NOTHING = "of a transaction that is rolled back nothing is shown"


@dataclass(kw_only=True)
class Transactions:
    """A program that writes into a conversation, and every second time thinks better of it."""

    devices: Sequence[Device]
    conversation: str
    connection: Connection
    answers: Answers
    checks: Checks
    committed: list[list[str]] = field(default_factory=list)
    undone: list[list[str]] = field(default_factory=list)

    async def run(self, *, until_s: float) -> None:
        """Write until this moment, then look. Raises psycopg.Error."""
        for commits in cycle((True, False)):
            if clock() >= until_s:
                break
            await self._write(commits=commits)
            await asyncio.sleep(PAUSE_S)
        await until(lambda: all(map(self._shown, self.committed)), within_s=SEEN_S)
        for bodies in self.committed:
            for device in self.devices:
                seqs = self._seqs(device, bodies)
                consecutive = list(range(seqs[0], seqs[0] + ROWS)) if seqs else []
                self.checks.note(TOGETHER, held=bool(seqs) and seqs == consecutive, witness=f"{bodies[0]}: {seqs}")  # fmt: skip
        for bodies in self.undone:
            self.checks.note(NOTHING, held=not any(one in self.answers.told for one in bodies))

    async def _write(self, *, commits: bool) -> None:
        kept = self.committed if commits else self.undone
        bodies = [f"transaction {len(kept)}, {commits}, row {row}" for row in range(ROWS)]
        kept.append(bodies)
        async with self.connection.transaction(force_rollback=not commits):
            await self.connection.execute(INSERT, [self.conversation, bodies[:2]])
            await self.connection.execute(INSERT, [self.conversation, bodies[2:]])

    def _shown(self, bodies: Sequence[str]) -> bool:
        return all(len(self._seqs(device, bodies)) == ROWS for device in self.devices)

    def _seqs(self, device: Device, bodies: Sequence[str]) -> list[int]:
        """Under which numbers a device was shown these, as they came."""
        found = [self.answers.told.get(body, {}).get(device.number, []) for body in bodies]
        return [seq for seqs in found for seq in seqs]
