"""Devices that change the same messages at the same moment: one of them wins each version, the others are told who."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from messaging.protocol import frames
from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.fleet import until
from perf.load.observer import Sent, Troubles
from perf.measure.latency import Latency
from perf.scenarios.parts.checks import Checks

PAUSE_S = 0.4  # between rounds: a dispute, no flood
ANSWERED_S = 15.0  # patience with answers that take milliseconds
ONE_WINS = "of all changes that are based on the same version exactly one is taken"
TOLD = "who loses is told `conflict` with the message as the winner left it"
LAST_WORD = "a message is stored as its last winner left it"
ROW = "SELECT version, body, deleted IS NOT NULL FROM messaging_message WHERE id = %s"


class Answers(Troubles):
    """Keeps how each request ended. Refusals with these codes are `expected`: the suite asks for them."""

    def __init__(self, *, expected: frozenset[str]) -> None:
        super().__init__()
        self.taken: dict[str, Sent] = {}  # by client_id
        self.given_up: dict[str, frames.Error] = {}
        self.codes: Counter[str] = Counter()
        self.seqs: dict[
            tuple[int, str], list[int]
        ] = {}  # of what each device was shown, by conversation
        self.told: dict[str, dict[int, list[int]]] = {}  # body -> device -> changes
        self.timed: dict[
            str, Latency
        ] = {}  # by conversation: from the intended moment to each other device
        self._expected = expected
        self._sent: dict[str, tuple[int, Sent]] = {}

    def sent(self, device: Device, sent: Sent) -> None:
        """Remember when it was meant to be sent, if it is timed."""
        if sent.conversation in self.timed and sent.what == "send":
            self._sent[sent.client_id] = (device.number, sent)

    def acked(self, device: Device, sent: Sent, now: float) -> None:
        """It was taken."""
        self.taken[sent.client_id] = sent

    def gave_up(self, device: Device, sent: Sent, error: frames.Error) -> None:
        """It was refused for good."""
        self.given_up[sent.client_id] = error

    def refused(self, device: Device, code: str, *, final: bool) -> None:
        """Count the refusal; what is expected is no trouble."""
        self.codes[code] += 1
        if code not in self._expected:
            super().refused(device, code, final=final)

    def delivered(self, device: Device, messages: Sequence[frames.Message], now: float) -> None:
        """A device was shown changes."""
        for message in messages:
            self.told.setdefault(message.body, {}).setdefault(device.number, []).append(message.seq)
            sender, sent = self._sent.get(message.client_id or "", (device.number, None))
            if sent is not None and sender != device.number:
                self.timed[sent.conversation].record(max(now - sent.intended, 0.0))

    def over(self, asked: Sequence[Sent]) -> bool:
        """Whether all of these are answered."""
        return all(one.client_id in self.taken or one.client_id in self.given_up for one in asked)


@dataclass(kw_only=True)
class Rivals:
    """The devices of one user, who may change each other's messages."""

    devices: Sequence[Device]
    answers: Answers
    checks: Checks
    versions: int = 0  # that were won
    decided: Latency = field(default_factory=Latency)  # until the last rival was answered

    async def run(self, *, messages: int, until_s: float) -> list[Sent]:
        """Send messages and change them over and over, until this moment; delete every second one in the end."""
        first, place = self.devices[0], self.devices[0].account.conversations[0]
        sends = [first.send(place, f"message {number}, version 1") for number in range(messages)]
        first.flush()
        await self._answered(sends)
        contested = [one for one in sends if one.message is not None]
        while clock() < until_s:
            await self._round(contested, delete=False)
            await asyncio.sleep(PAUSE_S)
        await self._round(contested[::2], delete=True)
        return contested

    async def _round(self, contested: Sequence[Sent], *, delete: bool) -> None:
        """Everyone changes every message, based on the version that all know."""
        begun = clock()
        tries: dict[str, list[tuple[Sent, str]]] = {}
        for device in self.devices:
            for known in contested:
                tries.setdefault(known.message or "", []).append(_change(device, known, delete))
            device.flush()
        await self._answered([sent for group in tries.values() for sent, _ in group])
        self.decided.record(clock() - begun)
        for known in contested:
            self._judge(known, tries[known.message or ""])

    async def _answered(self, asked: Sequence[Sent]) -> None:
        if not await until(lambda: self.answers.over(asked), within_s=ANSWERED_S):
            self.checks.note("every change is answered", held=0)

    def _judge(self, known: Sent, tries: Sequence[tuple[Sent, str]]) -> None:
        """One won, and all others were told so; `known` becomes the winner's version."""
        won = [(sent, body) for sent, body in tries if sent.client_id in self.answers.taken]
        one = len(won) == 1 and won[0][0].version == known.version + 1
        versions = [sent.version for sent, _ in won]
        witness = f"message {known.message}, version {known.version}: won as {versions}"
        self.checks.note(ONE_WINS, held=one, witness=witness)
        if not won:
            return
        winner, body = won[-1]
        for sent, _ in tries:
            error = self.answers.given_up.get(sent.client_id)
            if error is not None:
                self.checks.note(TOLD, held=_names(error, winner, body), witness=str(error))
        known.version, known.seq = winner.version, winner.seq
        self.versions += 1


def _change(device: Device, known: Sent, delete: bool) -> tuple[Sent, str]:  # noqa: FBT001 - of this module only
    """An edit or deletion by this device, and the body that the message then has."""
    if delete:
        return device.delete(known), ""
    body = f"version {known.version + 1} by device {device.number} of {known.message}"
    return device.edit(known, body), body


def _names(error: frames.Error, winner: Sent, body: str) -> bool:
    """Whether a refusal shows the message as the winner left it."""
    shown = error.current
    if error.code != "conflict" or shown is None or shown.id != winner.of:
        return False
    state = (shown.version, shown.seq, shown.body, shown.deleted is not None)
    return state == (winner.version, winner.seq, body, winner.what == "delete")
