"""`perf e2e delivery-confirmations`: who has a message, who has read it, and what waits for whom (G1, G2, G4; T5, T6, T11).

Several devices of each user on two servers. Ticks count whoever said that they have a message, and nobody else;
devices that were away get hours of backlog and the right badge, and what one of them reads clears it on the
others; old marks change nothing; and in a conversation of more than 100 devices the counts are right, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec

from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.fleet import Fleet, until
from perf.load.observer import Sent
from perf.load.rest import Rest
from perf.rig.accounts import Account
from perf.rig.database import connected
from perf.rig.environment import Crowd
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.parts import unread
from perf.scenarios.parts.plain import plain
from perf.scenarios.parts.receiving import DEVICES_EACH, FEW, QUICK_ROUNDS, ROUNDS, Receiving
from perf.scenarios.parts.shared import (
    conclude,
    connected_percent,
    note_generator,
    outcome_of,
)
from perf.scenarios.parts.ticks import SEEN_S, Desk, Marks
from perf.targets import outcome

MEMBERS = 26  # with four devices each that are 104: beyond 100 there are only counts
STAYS_S = 0.3  # a tick that is not there after so long is not given
GOALS = frozenset({"lost", "receipt regression", "phantom receipt", "lost receipt", "catch-up"})


def crowd(options: Options) -> Crowd:
    """One conversation of more than 100 devices; the small one is opened over REST."""
    return Crowd(conversations=1, members=MEMBERS, devices=DEVICES_EACH)


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints."""
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    return {
        "small_conversation": f"{FEW} users with {DEVICES_EACH} devices each",
        "large_conversation": f"{MEMBERS * DEVICES_EACH} devices",
        "rounds": rounds,
        "missed": unread.missed(options),
        "seconds": 6 + 4 * rounds,
    }


async def run(stage: Stage) -> Findings:
    """Ticks, a backlog, badges, old marks, and counts."""
    async with _prepared(stage) as it:
        async with it.generator.watched():
            for number in range(it.rounds):
                stage.progress.say(f"ticks, round {number + 1}")
                await _tick(it, number)
            await _receipts(it)
            stage.progress.say("a backlog, and badges")
            await unread.backlog(it)
            await unread.badges(it)
            await unread.old_marks(it)
            stage.progress.say("counts of more than 100 devices")
            for number in range(it.rounds):
                await _count(it, number)
        return await conclude(_findings(it), it.marks, *it.fleets)


@asynccontextmanager
async def _prepared(stage: Stage) -> AsyncIterator[Receiving]:
    place, accounts, marks = stage.environment, stage.environment.accounts, Marks()
    async with AsyncExitStack() as stack:
        second = await stack.enter_async_context(place.another("second"))
        assert place.database_url is not None
        connection = await stack.enter_async_context(connected(place.database_url))
        rest = Rest(place.url)
        stack.push_async_callback(rest.close)
        large = accounts[0].conversations[0]
        order = list(dict.fromkeys(one.user for one in accounts))
        accounts.sort(key=lambda one: order.index(one.user))  # a user's devices in a row
        few = accounts[: FEW * DEVICES_EACH]
        small = await _opened(rest, few)
        accounts[: len(few)] = [_in(one, small, large) for one in few]
        reserved = accounts.pop(len(few) - 1)
        fleets = [
            Fleet(url=url, recorder=stage.recorder, observer=marks)
            for url in (place.url, second.url)
        ]
        for fleet, some in zip(fleets, (accounts[0::2], accounts[1::2]), strict=True):
            await fleet.connect(some, starts={})
        devices = {one.account.device: one for fleet in fleets for one in fleet.devices}
        yield Receiving(
            stage=stage,
            fleets=fleets,
            marks=marks,
            desk=Desk(rest),
            connection=connection,
            small=small,
            large=large,
            devices=[devices[one.device] for one in accounts[: len(few) - 1]],
            old=await stack.enter_async_context(plain(place.url, reserved)),
            old_device=reserved.device,
        )


async def _opened(rest: Rest, few: Sequence[Account]) -> str:
    """Open the small conversation."""
    users = dict.fromkeys(one.user for one in few)
    body = {"members": [{"user": user} for user in users if user != few[0].user]}
    answer = await rest.ask("POST", "/api/conversations", token=few[0].token, body=body)
    return str(answer.json()["conversation"])


def _in(account: Account, *conversations: str) -> Account:
    return msgspec.structs.replace(account, conversations=conversations)


async def _tick(it: Receiving, number: int) -> None:
    """Some devices are away and one does not read its socket: they have no tick, all others have."""
    others = it.devices[1:]
    away = others[1 : 1 + number % 4]
    stalled, reader = others[-1], others[-2]
    for device in away:
        device.leave()
    stalled.stall(stalled=True)
    begun = clock()
    sent = await it.say(it.small, f"round {number}")
    every = 1 + len(others)  # and the plain one; the sender itself does not count
    present = [one for one in others if one not in away and one is not stalled]
    ids = [one.account.device for one in present]
    if await until(
        lambda: it.marks.reached(it.sender, it.small, sent.seq, by=ids) == len(ids), within_s=SEEN_S
    ):
        it.told.record(clock() - begun)
    await asyncio.sleep(STAYS_S)  # it is the absence of further ticks that is looked for
    delivered = every - len(away) - 1
    await _ticked(it, sent, delivered=delivered, devices=every)
    reader.read(it.small)
    reader.flush()
    await _ticked(it, sent, delivered=delivered, devices=every, read=1)
    stalled.stall(stalled=False)
    for device in away:
        await device.connect()
    await _ticked(it, sent, delivered=every, devices=every, read=1)
    told = it.marks.reached(
        it.sender, it.small, sent.seq, by=[one.account.device for one in others]
    )
    it.checks.note("the sender is told of every device that has the message", held=told, of=len(others))  # fmt: skip


async def _ticked(
    it: Receiving, sent: Sent, *, delivered: int, devices: int, read: int = 0
) -> None:
    """The API says exactly this, in numbers, by device and in its sentence."""
    found = await it.desk.shown(it.sender.account, sent, delivered=delivered, read=read)
    exact = (found.devices, found.delivered, found.read) == (devices, delivered, read)
    wanted = f"wanted {delivered} of {devices}, read by {read}: {found.summary}"
    it.checks.note("ticks count who has the message, and nobody else", held=exact, witness=wanted)
    marks = [sum(bool(one[name]) for one in found.marks or ()) for name in ("delivered", "read")]
    same = marks == [found.delivered, found.read] and found.summary == found.sentence
    it.checks.note("ticks by device and in words say the same", held=same, witness=found.summary)


async def _receipts(it: Receiving) -> None:
    """A device of another user reads at once: how long until the sender is told (T5)."""
    reader = it.devices[DEVICES_EACH]
    it.marks.readers = {reader.number}
    for number in range(5 * it.rounds):
        begun = clock()
        sent = await it.say(it.small, f"to be read {number}")

        def told(seq: int = sent.seq) -> float | None:
            return it.marks.read_at(it.sender, it.small, reader.account.device, seq)

        held = await until(lambda: told() is not None, within_s=SEEN_S)
        it.checks.note("a sender is told who has read", held=held)
        if (moment := told()) is not None:
            it.receipts.record(moment - begun)
    it.marks.readers = set()


async def _count(it: Receiving, number: int) -> None:
    """Of more than 100 devices there are counts, in frames and in the API, and they are right."""
    everyone = [one for fleet in it.fleets for one in fleet.devices]
    away = everyone[40 : 40 + 3 * (number % 4)]
    for device in away:
        device.leave()
    sent = await it.say(it.large, f"round {number}")
    whole = len(everyone) + 1  # and the plain one

    def counts(one: Device) -> tuple[int, int, int]:
        summary = it.marks.summaries.get((one.number, it.large))
        return (summary.last_seq, summary.devices, summary.delivered) if summary else (0, 0, 0)

    wanted = (sent.seq, whole, whole - len(away))
    watching = (it.sender, it.fleets[1].devices[0])  # one on each server
    await until(lambda: all(counts(one) == wanted for one in watching), within_s=SEEN_S)
    held = sum(counts(one) == wanted for one in watching)
    witness = f"wanted {wanted}: {[counts(one) for one in watching]}"
    it.checks.note("the counts of a large conversation are right on both servers", held=held, of=len(watching), witness=witness)  # fmt: skip
    found = await it.desk.shown(it.sender.account, sent, delivered=whole - 1 - len(away))
    exact = (found.devices, found.delivered, found.marks) == (
        whole - 1,
        whole - 1 - len(away),
        None,
    )
    it.checks.note("the API gives the same counts", held=exact, witness=found.summary)
    await asyncio.gather(*(device.connect() for device in away))


def _findings(it: Receiving) -> Findings:
    assert it.home is not None
    level = it.home.level.summary().max
    findings = Findings(
        outcomes=[
            outcome_of(it.generator, "T5", it.receipts.percentile(99), source=f"{it.receipts.count} messages that a device read at once"),
            outcome_of(it.generator, "T6.badge", it.badges.percentile(99), source=f"{it.badges.count} badges"),
            outcome("T11", level / 1000 if level is not None else None, source="the slowest device until it had its backlog"),
            outcome("T7", connected_percent(*it.fleets), source="sessions opened"),
        ],
        latency=it.receipts.summary(),
        spectra={"read receipt": it.receipts, "all ticks": it.told, "badge": it.badges},
        coverage=it.checks.covered(),
    )  # fmt: skip
    findings.figures |= {
        "all_ticks_p50_ms": it.told.percentile(50),
        "all_ticks_max_ms": it.told.summary().max,
        "backlog_level_p50_ms": it.home.level.percentile(50),
        "generator": it.generator.figures(),
    }
    note_generator(it.generator, findings)
    return findings


SCENARIO = Scenario(
    name="delivery-confirmations",
    group="e2e",
    title="who has a message and who has read it: ticks, backlogs, badges, counts",
    crowd=crowd,
    plan=plan,
    run=run,
    goals=GOALS,
)
