"""Devices that were away and come back: what they missed, and how long they take to be level again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.fleet import Fleet, until
from perf.load.workload import body
from perf.measure.latency import Latency

CATCH_UP_S = 10.0  # ten times the limit of a return: a failure then, and no figure
MISSED = 50  # messages


@dataclass(kw_only=True)
class Returns:
    """How long devices took from their reconnect until they had everything, and how many did not."""

    latency: Latency = field(default_factory=Latency)
    failures: list[str] = field(default_factory=list)

    async def measure(self, fleet: Fleet, *, rounds: int) -> None:
        """Cut second devices off, one after another, let their users' first devices send, and time the way back."""
        for number, (sender, away) in enumerate(_pairs(fleet.devices)[:rounds], 1):
            try:
                goal = await _go_on_without(away, sender)
                begun = clock()
                if not await fleet.open(away):
                    raise TimeoutError
                async with asyncio.timeout(CATCH_UP_S):
                    reached = await away.reach(sender.account.conversations[0], goal)
            except TimeoutError:
                self.failures.append(
                    f"return {number}: not level within {CATCH_UP_S:.0f} s of its reconnect"
                )
            else:
                self.latency.record(max(reached - begun, 0.0))


async def _go_on_without(away: Device, sender: Device) -> int:
    """Take a device away and do what it will have missed; return the last change. Raises TimeoutError.

    Besides new messages it misses an edit of one that it has, and an edit and a deletion among the
    new ones, of which it will get only the newest state.
    """
    conversation = sender.account.conversations[0]
    known = sender.send(conversation, body(100))
    sender.flush()
    await _wait(lambda: 0 < known.seq <= away.client.cursors.get(conversation, 0))
    away.leave()
    sends = [sender.send(conversation, body(100, number)) for number in range(1, MISSED + 1)]
    sender.flush()
    await _wait(lambda: all(sent.seq for sent in sends))
    changes = [
        sender.edit(known, "edited while a device was away"),
        sender.edit(sends[0], "edited before a device came back"),
        sender.delete(sends[1]),
    ]
    sender.flush()
    await _wait(lambda: all(change.seq for change in changes))
    return max(change.seq for change in changes)


async def _wait(done: Callable[[], bool]) -> None:
    if not await until(done, within_s=CATCH_UP_S):
        raise TimeoutError


def _pairs(devices: Sequence[Device]) -> list[tuple[Device, Device]]:
    """Two devices of one user, for every user that has them."""
    first: dict[str, Device] = {}
    pairs = []
    for device in devices:
        other = first.setdefault(device.account.user, device)
        if other is not device:
            pairs.append((other, device))
    return pairs
