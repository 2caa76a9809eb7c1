"""`perf e2e message-flow`: API, database, WebSocket, every device (G1, G2, G9; T2, T8, T10).

Every way in which a message may be written must reach every device of every member once and in one order,
on two servers; and nobody may be told of it before its commit, shown by reading the row when its first
device is told, and by commits that are held: as long as they last nobody may see what they hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from perf.coverage import Covered
from perf.history.testimony import clock
from perf.load.fleet import Fleet, until
from perf.load.generator import Generator
from perf.measure.latency import Latency
from perf.rig.accounts import Account
from perf.rig.database import connected
from perf.rig.environment import Crowd
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.parts.arrivals import Arrivals, Witness
from perf.scenarios.parts.held_commits import held_commits
from perf.scenarios.parts.shared import (
    conclude,
    connected_percent,
    conversations_of,
    note_generator,
    outcome_of,
)
from perf.scenarios.parts.ways import Way, app, every_way
from perf.targets import outcome

CONVERSATIONS, MEMBERS, DEVICES_EACH = 3, 4, 2
ROUNDS, QUICK_ROUNDS = 150, 12  # writes of each way
PAUSE_S, QUICK_PAUSE_S = 0.4, 0.2  # between two of a way, on average
HELD_S, QUICK_HELD_S = 1.0, 0.25  # so long a commit is held, and nobody may know
SEEN_S = 10.0  # patience with what should take milliseconds
DEVICE_WAYS = ("WebSocket, JSON", "WebSocket, MessagePack")
GOALS = frozenset({"lost", "duplicated", "reordered", "gap", "diverged order"})


@dataclass(kw_only=True)
class Written:
    """What one way has written, and how soon it was seen."""

    messages: int = 0
    seen: Latency = field(default_factory=Latency)  # from the call to each device
    promised: Latency = field(default_factory=Latency)  # from the call to its return
    bodies: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Flowing:
    """One run's parts."""

    stage: Stage
    ways: Sequence[Way]
    fleets: Sequence[Fleet]
    arrivals: Arrivals
    witness: Witness
    conversations: Sequence[str]
    generator: Generator = field(default_factory=Generator)
    written: dict[str, Written] = field(default_factory=dict)
    released: Latency = field(default_factory=Latency)
    checks: dict[str, tuple[int, int]] = field(default_factory=dict)  # how often checked, and held

    def check(self, name: str, *, held: int, of: int = 1) -> None:
        """Note that something was looked at `of` times, and how often it was so."""
        checked, times = self.checks.get(name, (0, 0))
        self.checks[name] = (checked + of, times + held)


def crowd(options: Options) -> Crowd:
    """Conversations of four users with two devices each."""
    return Crowd(conversations=CONVERSATIONS, members=MEMBERS, devices=DEVICES_EACH)


def rounds_of(options: Options) -> int:
    """Writes of each way."""
    return QUICK_ROUNDS if options.quick else ROUNDS


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints."""
    pause, held = (QUICK_PAUSE_S, QUICK_HELD_S) if options.quick else (PAUSE_S, HELD_S)
    writing = rounds_of(options) * pause
    return {
        "ways": 8,
        "writes_of_each_way": rounds_of(options),
        "held_commits": f"one of each way, for {held} s",
        "seconds": round(5 + writing + 8 * (held + 0.2)),
    }


async def run(stage: Stage) -> Findings:
    """Write in every way at once; then in each while commits are held."""
    async with _prepared(stage) as it:
        async with it.generator.watched():
            stage.progress.say(f"{len(it.ways)} ways write at once")
            dice = Random(stage.options.seed)
            seeds = [dice.random() for _ in it.ways]
            await asyncio.gather(
                *(_write(it, way, seed) for way, seed in zip(it.ways, seeds, strict=True))
            )
            await _arrived(it)
            stage.progress.say("commits are held")
            for number, way in enumerate(it.ways):
                await _held(it, way, it.conversations[number % len(it.conversations)])
        await it.witness.done()
        return await conclude(_findings(it), it.arrivals, *it.fleets)


@asynccontextmanager
async def _prepared(stage: Stage) -> AsyncIterator[Flowing]:
    """Half of the devices on either server; the last of each conversation writes, and listens to MessagePack."""
    place, accounts = stage.environment, stage.environment.accounts
    names = conversations_of(accounts)
    authors = {account.conversations[0]: account for account in accounts}
    listening = [one for one in accounts if one not in authors.values()]
    async with AsyncExitStack() as stack:
        async with asyncio.TaskGroup() as starting:
            another = starting.create_task(stack.enter_async_context(place.another("second")))
            writing = starting.create_task(stack.enter_async_context(app(place)))
        second = another.result()
        assert place.database_url is not None
        witness = Witness(await stack.enter_async_context(connected(place.database_url)))
        arrivals = Arrivals(witness.first)
        await stack.enter_async_context(witness.watching())
        fleets = [
            Fleet(url=url, recorder=stage.recorder, observer=arrivals)
            for url in (place.url, second.url)
        ]
        for fleet, some in zip(fleets, (listening[0::2], listening[1::2]), strict=True):
            await fleet.connect(some, starts={})
        arrivals.expect(_present(fleets, authors))
        ways = await stack.enter_async_context(
            every_way(
                place,
                writing.result(),
                devices={one.account.conversations[0]: one for one in fleets[0].devices},
                authors=authors,
                heard=arrivals.heard_by("MessagePack"),
            )
        )
        yield Flowing(
            stage=stage,
            ways=ways,
            fleets=fleets,
            arrivals=arrivals,
            witness=witness,
            conversations=names,
        )


def _present(fleets: Sequence[Fleet], authors: dict[str, Account]) -> dict[str, set[object]]:
    """Who has to be shown the messages of each conversation."""
    present: dict[str, set[object]] = {name: {"MessagePack"} for name in authors}
    for fleet in fleets:
        for device in fleet.devices:
            present[device.account.conversations[0]].add(device.number)
    return present


async def _write(it: Flowing, way: Way, seed: float) -> None:
    """Write in one way, with random pauses, into one conversation after the other."""
    options, dice = it.stage.options, Random(seed)
    pause = QUICK_PAUSE_S if options.quick else PAUSE_S
    it.written[way.name] = Written()
    due = clock()
    for number in range(rounds_of(options)):
        due += dice.expovariate(1 / pause)
        await asyncio.sleep(max(due - clock(), 0))
        place = it.conversations[number % len(it.conversations)]
        await _once(it, way, place, number, it.written[way.name])


async def _once(it: Flowing, way: Way, conversation: str, number: int, kept: Written) -> list[str]:
    """Write once; the latency counts from the call."""
    bodies = [f"{way.name} {number}.{n}" for n in range(way.at_once)]
    kept.bodies += bodies
    kept.messages += len(bodies)
    begun = clock()
    it.arrivals.announce(conversation, bodies, begun=begun, latency=kept.seen)
    await way.write(conversation, bodies)
    kept.promised.record(clock() - begun)
    return bodies


async def _arrived(it: Flowing) -> None:
    """Wait until everyone has everything; then count."""
    await until(it.arrivals.complete, within_s=SEEN_S)
    for way, kept in it.written.items():
        once, due = it.arrivals.counted(kept.bodies)
        it.check(f"{way}: every device of every member was shown it once", held=once, of=due)
    for conversation in it.conversations:
        same, devices = it.arrivals.agreed(conversation)
        it.check(
            "all devices were shown the same messages in the same order", held=same, of=devices
        )


async def _held(it: Flowing, way: Way, conversation: str) -> None:
    """Write while no commit ends: nobody may be told, not even the writer; afterwards everybody is."""
    assert it.stage.environment.database_url is not None
    held_s = QUICK_HELD_S if it.stage.options.quick else HELD_S
    async with held_commits(it.stage.environment.database_url) as held:
        number, kept = rounds_of(it.stage.options), Written()
        writing = asyncio.ensure_future(_once(it, way, conversation, number, kept))
        it.check("a commit of every way can be held", held=await held.waiting())
        await asyncio.sleep(held_s)  # it is the absence of a frame that is looked for
        bodies = kept.bodies
        told, visible = it.arrivals.told(bodies), await held.visible(bodies)
        it.check(f"{way.name}: nobody was told before its commit", held=told == visible == 0)
        it.check("nothing is promised before its commit", held=not writing.done())
        released = clock()
    await writing
    await until(lambda: it.arrivals.told(bodies) >= it.arrivals.due(bodies), within_s=SEEN_S)
    once, due = it.arrivals.counted(bodies)
    it.check("what was held was shown to every device once it was committed", held=once, of=due)
    it.released.record(clock() - released)


def _findings(it: Flowing) -> Findings:
    live = Latency()
    for name in DEVICE_WAYS:
        live.merge(it.written[name].seen)
    findings = Findings(
        outcomes=[
            outcome_of(it.generator, "T2", live.percentile(99), source=f"{live.count} arrivals of messages that devices sent"),
            outcome("T7", connected_percent(*it.fleets), source="sessions opened"),
        ],
        latency=live.summary(),
        spectra={name: kept.seen for name, kept in it.written.items()},
        steps=[_row(name, kept) for name, kept in it.written.items()],
        coverage=[
            Covered(name=name, kind="always", checked=checked, held=held)
            for name, (checked, held) in it.checks.items()
        ],
    )  # fmt: skip
    findings.coverage.append(it.witness.covered())
    findings.figures |= {
        "row_looked_up_after_ms": it.witness.delay.percentile(50),
        "shown_after_release_p99_ms": it.released.percentile(99),
        "generator": it.generator.figures(),
    }
    note_generator(it.generator, findings)
    return findings


def _row(name: str, kept: Written) -> dict[str, Any]:
    return {
        "way": name,
        "messages": kept.messages,
        "shown": kept.seen.count,
        "p50_ms": kept.seen.percentile(50),
        "p99_ms": kept.seen.percentile(99),
        "max_ms": kept.seen.summary().max,
        "promised_p50_ms": kept.promised.percentile(50),
    }


SCENARIO = Scenario(
    name="message-flow",
    group="e2e",
    title="every way to write a message: to every device, once, in order, after its commit",
    crowd=crowd,
    plan=plan,
    run=run,
    goals=GOALS,
)
