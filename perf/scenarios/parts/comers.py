"""A member who is sent away and brought back while everybody talks: nothing above the end of a stay is for its devices."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.fleet import until
from perf.rig.database import Connection
from perf.scenarios.parts.checks import Checks

TOLD_S = 10.0  # patience with what should take milliseconds
APART_S = 0.2  # so long a stay or an absence lasts at least, with messages in it
TOLD = "every device of a member who is sent away is told where the stay ends"
BACK = "every device of a member who is brought back is told so"
LEAVE = """
DELETE FROM messaging_membership WHERE conversation_id = %s AND user_id = %s AND left_seq IS NULL
"""
LEFT = """
SELECT max(left_seq) FROM messaging_membership WHERE conversation_id = %s AND user_id = %s
"""
JOIN = "INSERT INTO messaging_membership (conversation_id, user_id) VALUES (%s, %s)"


@dataclass(kw_only=True)
class Comers:
    """One user's devices. What they are shown is judged with everything else."""

    devices: Sequence[Device]
    connection: Connection
    checks: Checks
    stays: int = 0

    async def run(self, *, until_s: float) -> None:
        """Send the user away and bring them back, until this moment. Raises psycopg.Error."""
        while clock() < until_s:
            await asyncio.sleep(APART_S)
            await self._away()
            await asyncio.sleep(APART_S)
            await self._back()
            self.stays += 1

    @property
    def _place(self) -> tuple[str, str]:
        account = self.devices[0].account
        return account.conversations[0], account.user

    async def _away(self) -> None:
        conversation, _ = self._place
        await self.connection.execute(LEAVE, self._place)
        row = await (await self.connection.execute(LEFT, self._place)).fetchone()
        end = row[0] if row else None
        await until(lambda: self._ends() == {end}, within_s=TOLD_S)
        for device in self.devices:
            said = device.client.left.get(conversation)
            witness = f"device {device.number} was told {said}, the stay ended with {end}"
            self.checks.note(TOLD, held=said == end, witness=witness)

    async def _back(self) -> None:
        conversation, _ = self._place
        await self.connection.execute(JOIN, self._place)
        await until(lambda: self._ends() == {None}, within_s=TOLD_S)
        held = sum(conversation not in one.client.left for one in self.devices)
        self.checks.note(BACK, held=held, of=len(self.devices))

    def _ends(self) -> set[int | None]:
        """Where the stay ends, as far as the devices know; None: it goes on."""
        return {device.client.left.get(self._place[0]) for device in self.devices}
