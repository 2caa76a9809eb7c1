"""A few seconds of everything that a server promises: sends, edits, deletions, lost connections,
a member who leaves, a device that is revoked, receipts. It is what sabotaged servers are tried with.

Its devices are those of one conversation, two of each user. It waits for nothing for long, since
a broken server may never answer: whatever did not come is for the judge.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from perf.history.events import Revoked
from perf.history.recorder import Recorder
from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.fleet import Fleet, until
from perf.load.observer import Observer, Sent
from perf.load.workload import body
from perf.rig.accounts import Account
from perf.rig.database import Connection, last_seqs
from perf.rig.environment import Crowd

CROWD = Crowd(conversations=1, members=6, devices=2)
ROUNDS, AT_ONCE = 12, 3  # sends of each device, and how many of them go together
PAUSE_S = 0.05  # between rounds: a minute's talk in little time, but no flood
PATIENCE_S = 3.0  # for answers, and for devices to be level
ANSWER_S = 5.0  # of the REST API
FENCE_S = 0.3  # what comes so long after a revocation was not on its way when it answered
AGAIN = 12  # requests that are repeated over REST
OK = 200
SETTLE_S = 3.0  # marks count as settled a second after they were said; a machine may stand still for longer

LEAVE = "DELETE FROM messaging_membership WHERE conversation_id = %s AND user_id = %s AND left_seq IS NULL"
CONNECTIONS = "SELECT count(*) FROM presence_connection WHERE device_id = ANY (%s::uuid[])"


class Said(NamedTuple):
    """A message that a device sent."""

    device: Device
    sent: Sent
    text: str


@dataclass
class Workout:
    """One server's trial. `problems` says what did not come in time."""

    url: str
    accounts: Sequence[Account]
    recorder: Recorder
    connection: Connection
    problems: list[str] = field(default_factory=list)

    async def run(self) -> int:
        """Do everything; return how many sessions the database still has when all are over."""
        self._fleet = Fleet(url=self.url, recorder=self.recorder, observer=Observer(), reads=True)
        starts = await last_seqs(self.connection, [self._conversation])
        await self._fleet.connect(self.accounts, starts=starts)
        everyone = list(self._fleet.devices)
        said = await self._talk(everyone, rounds=ROUNDS)
        await self._ask_again(said[:AGAIN])
        await self._amend(said[AGAIN:])
        await self._lose_connections(everyone)
        staying = await self._send_away(everyone)
        await self._talk(staying, rounds=3)
        await self._settle(staying)
        self._fleet.disconnect()
        return await self._connections()

    @property
    def _conversation(self) -> str:
        return self.accounts[0].conversations[0]

    async def _talk(self, devices: Sequence[Device], *, rounds: int) -> list[Said]:
        """All devices speak at once, some rounds."""
        said: list[Said] = []
        for turn in range(rounds):
            for device in devices:
                for n in range(AT_ONCE):
                    text = f"{turn}.{n} {body(40)}"
                    sent = device.send(self._conversation, text)
                    said.append(Said(device, sent, text))
                device.flush()
            await asyncio.sleep(PAUSE_S)
        await self._answered(devices)
        return said

    async def _ask_again(self, said: Sequence[Said]) -> None:
        """Repeat requests that were answered, as a client does that has not seen the answer."""
        path = f"{self.url}/api/conversations/{self._conversation}/messages"
        for one in said:
            content = {"client_id": one.sent.client_id, "body": one.text}
            status = await ask("POST", path, token=one.device.account.token, content=content)
            if status != OK:
                self.problems.append(f"a repeated request was answered with {status}")

    async def _amend(self, said: Sequence[Said]) -> None:
        """Edit some messages, delete others, answer the rest."""
        stored = [one for one in said if one.sent.message is not None]
        for n, (device, sent, _) in enumerate(stored[:: max(len(stored) // 24, 1)]):
            if n % 3 == 0:
                device.edit(sent, f"again: {body(30)}")
            elif n % 3 == 1:
                device.delete(sent)
            else:
                device.send(sent.conversation, f"so: {body(30)}", reply_to=sent.message)
            device.flush()
        await self._answered([one.device for one in stored])

    async def _lose_connections(self, devices: Sequence[Device]) -> None:
        """Half of the devices lose their connection with requests on their way, and come back."""
        losing = devices[::2]
        for _ in range(3):
            for device in losing:
                for _ in range(AT_ONCE):
                    device.send(self._conversation, body(30))
                device.flush()
                device.drop()
            await self._talk(devices[1::2], rounds=1)
            if not await until(lambda: all(one.online for one in losing), within_s=PATIENCE_S):
                self.problems.append("a device that lost its connection did not come back")
            await self._answered(losing)

    async def _send_away(self, devices: Sequence[Device]) -> list[Device]:
        """The last user leaves, and one device of the user before is revoked; return who stays."""
        users = list(dict.fromkeys(device.account.user for device in devices))
        leaving = [device for device in devices if device.account.user == users[-1]]
        keeping, revoked = [device for device in devices if device.account.user == users[-2]]
        await self.connection.execute(LEAVE, [self._conversation, users[-1]])
        path = f"{self.url}/api/devices/{revoked.account.device}"
        if await ask("DELETE", path, token=keeping.account.token) == OK:
            self.recorder.record(Revoked(t=self.recorder.now(), id=revoked.account.device))
        else:
            self.problems.append(f"a revocation was not answered within {ANSWER_S:.0f} s")
        await asyncio.sleep(FENCE_S)
        return [device for device in devices if device is not revoked and device not in leaving]

    async def _settle(self, devices: Sequence[Device]) -> None:
        """Wait until all have everything, and their marks had time to be stored."""

        def level() -> bool:
            cursors = {device.client.cursors.get(self._conversation, 0) for device in devices}
            return len(cursors) == 1 and not any(device.pending for device in devices)

        if not await until(level, within_s=PATIENCE_S):
            self.problems.append("not all devices came to the same end")
        await asyncio.sleep(SETTLE_S)

    async def _answered(self, devices: Sequence[Device]) -> None:
        if not await until(
            lambda: not any(device.pending for device in devices), within_s=PATIENCE_S
        ):
            self.problems.append("not every request was answered")

    async def _connections(self) -> int:
        """Sessions of our devices that the database has though all sockets are closed."""
        names = [account.device for account in self.accounts]
        deadline = clock() + PATIENCE_S
        while True:
            row = await (await self.connection.execute(CONNECTIONS, [names])).fetchone()
            count = int(row[0]) if row else 0
            if not count or clock() > deadline:
                return count
            await asyncio.sleep(PAUSE_S)


async def ask(
    method: str, url: str, *, token: str, content: Mapping[str, str] | None = None
) -> int | None:
    """Ask the REST API as a device. Returns the status; None if no answer came within ANSWER_S."""
    parts = urlsplit(url)
    body = b"" if content is None else msgspec.json.encode(content)
    head = (
        f"{method} {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                writer.write(head.encode() + body)
                _, status, *_ = (await reader.readline()).split()
                return int(status)
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return None
