"""`perf e2e multi-device`: one user's devices, from the password to the revocation (T6).

Log in on A; link B by a code; what A sends appears on B; a file that A sends is fetched on B byte for
byte; what B reads clears the badge on A; B is revoked and silent. A second user is who they talk to.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from messaging.protocol import frames
from perf.coverage import Covered
from perf.history.events import Revoked
from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.fleet import Fleet, until
from perf.load.generator import Generator
from perf.load.observer import Troubles
from perf.load.rest import Rest
from perf.measure.latency import Latency
from perf.rig.accounts import Account
from perf.rig.environment import Crowd
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.parts.phonebook import Phonebook, people
from perf.scenarios.parts.shared import (
    agreement,
    connected_percent,
    note_generator,
    note_troubles,
    outcome_of,
    settle,
)
from perf.targets import outcome

# Fewer would be over within the second that the judge gives a mark to be shown.
ROUNDS, QUICK_ROUNDS = 20, 8
TALK = 10  # messages of each device in a round
FILE_BYTES = 1_000_000
SEEN_S = 10.0  # patience with what should take milliseconds
GOALS = frozenset({"lost", "lost ack", "lost receipt", "delivery after a fence"})


class Badges(Troubles):
    """Knows when each device was shown what of a conversation, and how far it was told that others have read."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: dict[tuple[int, str], tuple[float, frames.Message]] = {}  # device, client_id
        self._read: dict[tuple[int, str], list[tuple[float, int]]] = {}  # device, whose
        self.revoked: set[int] = set()  # whose end is wanted

    def delivered(self, device: Device, messages: Sequence[frames.Message], now: float) -> None:
        """Note when each message first arrived."""
        for message in messages:
            if message.client_id is not None:
                self.arrived.setdefault((device.number, message.client_id), (now, message))

    def marked(self, device: Device, frame: frames.Receipts, now: float) -> None:
        """Note how far each device has read."""
        for mark in frame.marks:
            self._read.setdefault((device.number, mark.device), []).append((now, mark.read))

    def closed(self, device: Device, code: int) -> None:
        """Count the end of a session, but of one that was revoked."""
        if device.number not in self.revoked:
            super().closed(device, code)

    def cleared(self, device: Device, by: str, seq: int) -> float | None:
        """When this device was told that device `by` has read up to `seq`; None: not yet."""
        told = self._read.get((device.number, by), [])
        return next((now for now, read in told if read >= seq), None)


@dataclass(kw_only=True)
class Household:
    """One run's parts: A and its linked devices, and the other user's."""

    stage: Stage
    book: Phonebook
    fleet: Fleet
    badges: Badges
    conversation: str
    first: Device
    other: Device
    generator: Generator = field(default_factory=Generator)
    appeared: Latency = field(default_factory=Latency)
    cleared: Latency = field(default_factory=Latency)
    fetched: Latency = field(default_factory=Latency)
    linked: Latency = field(default_factory=Latency)
    revoked: Latency = field(default_factory=Latency)
    checks: dict[str, tuple[int, int]] = field(default_factory=dict)  # how often checked, and held

    def check(self, name: str, *, held: bool) -> None:
        """Note that something was looked at, and whether it was so."""
        checked, times = self.checks.get(name, (0, 0))
        self.checks[name] = (checked + 1, times + held)


def crowd(options: Options) -> Crowd:
    """Nobody: its people begin with a password."""
    return Crowd(conversations=0, members=0)


def rounds_of(options: Options) -> int:
    """Devices that are linked, one after the other."""
    return QUICK_ROUNDS if options.quick else ROUNDS


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints."""
    return {"linked_devices": rounds_of(options), "seconds": 10 + 2 * rounds_of(options)}


async def run(stage: Stage) -> Findings:
    """Link, talk, share, read, revoke; once for each linked device."""
    async with _prepared(stage) as it:
        async with it.generator.watched():
            for number in range(rounds_of(stage.options)):
                await _round(it, number)
            held = await it.book.used_code_is_refused(it.first.account)
            it.check("a link code is good for one device", held=held)
        findings = _findings(it)
        await settle(it.fleet, findings)
    findings.concluding = agreement
    note_troubles(it.fleet, findings, it.badges)
    return findings


@asynccontextmanager
async def _prepared(stage: Stage) -> AsyncIterator[Household]:
    place = stage.environment
    rest, badges = Rest(place.url), Badges()
    book = Phonebook(rest)
    (mine, theirs), password = await people(place, 2)
    stage.progress.say("logging two users in")
    first = await book.log_in(mine, password, installation="first")
    other = await book.log_in(theirs, password, installation="other")
    conversation = await book.converse(first, other)
    fleet = Fleet(url=place.url, recorder=stage.recorder, observer=badges)
    place.accounts.extend(_in(one, conversation) for one in (first, other))
    await fleet.connect(place.accounts, starts={})
    try:
        yield Household(
            stage=stage,
            book=book,
            fleet=fleet,
            badges=badges,
            conversation=conversation,
            first=fleet.devices[0],
            other=fleet.devices[1],
        )
    finally:
        fleet.disconnect()
        await rest.close()


def _in(account: Account, conversation: str) -> Account:
    return msgspec.structs.replace(account, conversations=(conversation,))


async def _round(it: Household, number: int) -> None:
    """The life of one linked device."""
    it.stage.progress.say(f"linked device {number + 1}")
    begun = clock()
    account = await it.book.link(it.first.account, installation=f"linked-{number}")
    it.linked.record(clock() - begun)
    listed = [await it.book.devices(one) for one in (it.first.account, account)]
    it.check("both devices list the new one", held=all(account.device in ids for ids in listed))
    linked = await it.fleet.attempt(_in(account, it.conversation), starts={})
    if linked is None:
        return
    it.fleet.devices.append(linked)
    await _talk(it, linked)
    await _share(it, linked)
    await _read(it, linked)
    await _revoke(it, linked)


async def _talk(it: Household, linked: Device) -> None:
    """What either device sends appears on the other."""
    for sender, receiver in ((it.first, linked), (linked, it.first)) * (TALK // 2):
        sent = sender.send(it.conversation, secrets.token_hex(20))
        sender.flush()
        await _appears(it, receiver, sent.client_id, since=sent.actual)


async def _appears(
    it: Household, receiver: Device, client_id: str, *, since: float
) -> frames.Message | None:
    key = (receiver.number, client_id)
    came = await until(lambda: key in it.badges.arrived, within_s=SEEN_S)
    it.check("what one device sends appears on the other", held=came)
    if not came:
        return None
    moment, message = it.badges.arrived[key]
    it.appeared.record(moment - since)
    return message


async def _share(it: Household, linked: Device) -> None:
    """A file that the first device sends is fetched on the linked one, byte for byte."""
    file = await it.book.upload(it.first.account, "photo.bin", secrets.token_bytes(FILE_BYTES))
    sent = it.first.send(it.conversation, "a file", attachments=(file.id,))
    it.first.flush()
    message = await _appears(it, linked, sent.client_id, since=sent.actual)
    if message is None:
        return
    named = [(one.id, one.sha256) for one in message.attachments]
    it.check("the message names its file", held=named == [(file.id, file.sha256)])
    begun = clock()
    status, content = await it.book.fetch(linked.account, file.id)
    it.fetched.record(clock() - begun)
    same = (status, content) == (200, file.content)
    it.check("the file is the same, byte for byte", held=same)


async def _read(it: Household, linked: Device) -> None:
    """What the linked device reads is no longer unread on the first."""
    sent = it.other.send(it.conversation, secrets.token_hex(20))
    it.other.flush()
    key = (linked.number, sent.client_id)
    if not await until(lambda: key in it.badges.arrived, within_s=SEEN_S):
        it.check("a badge is cleared on the other device", held=False)
        return
    seq, begun = it.badges.arrived[key][1].seq, clock()
    linked.read(it.conversation)
    linked.flush()

    def told() -> float | None:
        return it.badges.cleared(it.first, linked.account.device, seq)

    held = await until(lambda: told() is not None, within_s=SEEN_S)
    it.check("a badge is cleared on the other device", held=held)
    if (moment := told()) is not None:
        it.cleared.record(moment - begun)


async def _revoke(it: Household, linked: Device) -> None:
    """The linked device is revoked: from the answer on it hears nothing."""
    it.badges.revoked.add(linked.number)
    begun = clock()
    await it.book.revoke(it.first.account, linked.account.device)
    it.revoked.record(clock() - begun)
    it.stage.recorder.record(Revoked(t=it.stage.recorder.now(), id=linked.account.device))
    closed = await until(lambda: not linked.online, within_s=SEEN_S)
    it.check("a revoked device is cut off", held=closed)
    sent = it.other.send(it.conversation, "not for the revoked device")
    it.other.flush()
    await _appears(it, it.first, sent.client_id, since=sent.actual)
    silent = (linked.number, sent.client_id) not in it.badges.arrived
    it.check("a revoked device hears nothing more", held=silent)
    status, _ = await it.book.fetch(linked.account, "00000000-0000-0000-0000-000000000000")
    it.check("a revoked device is refused by the API", held=status in {401, 403})
    linked.leave()
    linked.testify()
    it.fleet.devices.remove(linked)


def _findings(it: Household) -> Findings:
    trusted = it.generator
    return_to = [
        outcome_of(trusted, "T6.live", it.appeared.percentile(99), source=f"{it.appeared.count} messages between two devices of a user"),
        outcome_of(trusted, "T6.badge", it.cleared.percentile(99), source=f"{it.cleared.count} reads"),
        outcome_of(trusted, "T6.file", it.fetched.percentile(99), source=f"{it.fetched.count} files of {FILE_BYTES:,} bytes"),
        outcome("T7", connected_percent(it.fleet), source="sessions opened"),
    ]  # fmt: skip
    findings = Findings(
        outcomes=return_to,
        latency=it.appeared.summary(),
        spectra={"appears on the other device": it.appeared, "badge cleared": it.cleared},
        coverage=[
            Covered(name=name, kind="always", checked=checked, held=held)
            for name, (checked, held) in it.checks.items()
        ],
    )
    findings.figures |= {
        "linked_devices": it.linked.count,
        "link_p50_ms": it.linked.percentile(50),
        "appear_p50_ms": it.appeared.percentile(50),
        "badge_p50_ms": it.cleared.percentile(50),
        "file_p50_ms": it.fetched.percentile(50),
        "revoke_p50_ms": it.revoked.percentile(50),
        "generator": it.generator.figures(),
    }
    note_generator(it.generator, findings)
    return findings


SCENARIO = Scenario(
    name="multi-device",
    group="e2e",
    title="one user's devices: linked by a code, in step, files, badges, revoked",
    crowd=crowd,
    plan=plan,
    run=run,
    goals=GOALS,
)
