"""`perf stress memory-pressure`: the same heavy cycle again and again; nothing may stay behind.

Each cycle: devices of many conversations connect, and clients that say hello and never read; huge
messages fill the windows of those; everything is closed; one sample in the silence. What is counted
(sockets, rows, groups, tasks …) must be exactly as before; what is measured must not grow (`perf.measure.statistics`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

from redis.asyncio import Redis

from messaging.protocol import frames
from perf.coverage import Covered
from perf.load.device import Device
from perf.load.fleet import Fleet, until
from perf.load.observer import Troubles
from perf.load.stranger import Stranger
from perf.load.workload import body
from perf.measure import quiet, statistics
from perf.measure.quiet import Sample, Watch
from perf.measure.statistics import CYCLES, SETTLING, Work
from perf.rig.accounts import Account
from perf.rig.database import connected
from perf.rig.environment import Crowd, RigError
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.parts.shared import agreement, note_troubles, starts_of
from perf.targets import outcome

CONVERSATIONS, QUICK_CONVERSATIONS = 40, 8
MEMBERS = 6  # two of each conversation talk, the others are stalled
TALKERS = 2
MESSAGES = 10  # of each conversation in a cycle
HUGE = 16_384  # bytes of a message: ten of them are two windows of a stalled reader
QUICK_CYCLES = 3
STALLED_AT_ONCE = 1_000  # of the last part, for G10
BUFFER = 4_096  # bytes that a stalled reader's own kernel takes
AT_ONCE = 50
DRAIN_S = 30.0


def crowd(options: Options) -> Crowd:
    """Many small conversations."""
    wanted = options.devices // MEMBERS if options.devices else None
    few = QUICK_CONVERSATIONS if options.quick else CONVERSATIONS
    return Crowd(conversations=max(1, wanted or few), members=MEMBERS)


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints."""
    work = _work(options)
    return {
        "cycles": _cycles(options),
        "each": {
            "connections": work.connections,
            "messages": work.messages,
            "bytes_of_a_message": HUGE,
        },
        "stalled_at_once": None if options.quick else STALLED_AT_ONCE,
        "seconds": _cycles(options) * (1 + work.connections / 150) + (0 if options.quick else 15),
    }


def _cycles(options: Options) -> int:
    return QUICK_CYCLES if options.quick else SETTLING + CYCLES + 1


def _work(options: Options) -> Work:
    conversations = crowd(options).conversations
    return Work(connections=conversations * MEMBERS, messages=conversations * MESSAGES)


class Shown(Troubles):
    """Remembers which marks of others each device was shown."""

    def __init__(self) -> None:
        super().__init__()
        self._delivered: dict[tuple[int, str, str], int] = {}

    def marked(self, device: Device, frame: frames.Receipts, now: float) -> None:
        """Remember the greatest."""
        for mark in frame.marks:
            key = (device.number, frame.conversation, mark.device)
            self._delivered[key] = max(self._delivered.get(key, 0), mark.delivered)

    def level(self, fleet: Fleet) -> bool:
        """Whether every device was shown that all others have everything."""
        return all(
            self._delivered.get((device.number, name, other.account.device), 0)
            >= other.client.cursors.get(name, 0)
            for name, devices in fleet.members().items()
            for device in devices
            for other in devices
            if other is not device
        )


@dataclass(kw_only=True)
class Pressure:
    """One run's parts."""

    stage: Stage
    fleet: Fleet
    watch: Watch
    troubles: Shown
    stalled: Sequence[Account]
    samples: list[Sample] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    peak_mb: float = 0.0
    cut: int = 0  # talkers that were not level in time
    unopened: str = ""

    async def cycle(self, number: int) -> None:
        """One cycle, and its sample."""
        fleet, say = self.fleet, self.stage.progress.say
        self.stage.series.mark(f"cycle {number}")
        for device in fleet.devices:
            if not device.online:
                await fleet.open(device)
        strangers = await stall(self.watch.server.url, self.stalled)
        await until(lambda: fleet.online == len(fleet.devices), within_s=DRAIN_S)
        for n in range(MESSAGES):
            for device in fleet.devices[::TALKERS]:
                device.send(device.account.conversations[0], body(HUGE, n))
                device.flush()
        if not await fleet.quiesce(within_s=DRAIN_S):
            self.cut += 1
        self.peak_mb = max(self.peak_mb, self.watch.rss_mb)
        for stranger in strangers:
            stranger.leave()
        for device in fleet.devices:
            device.leave()
        sample = await self.watch.sample(like=self.samples[0].exact if self.samples else None)
        self.samples.append(sample)
        left = quiet.leftovers(self.samples[0], sample)
        if left:
            self.left.append(
                f"after cycle {number} there were {_named(left)} more than after the first"
            )
        say(f"cycle {number}: USS {sample.uss / 2**20:.1f} MB, {sample.inside.blocks:,} blocks")

    async def crush(self) -> float:
        """Many stalled readers at once; return what they add, in MB."""
        self.stage.series.mark("stalled readers")
        fleet = self.fleet
        for device in fleet.devices:
            await fleet.open(device)
        before = self.watch.rss_mb
        accounts = list(islice(cycle(self.stalled), STALLED_AT_ONCE))
        strangers = await stall(self.watch.server.url, accounts)
        wanted = len(fleet.devices) + len(accounts)
        if not await self.watch.full(wanted, within_s=DRAIN_S):
            self.unopened = f"not all of {wanted} sessions opened within {DRAIN_S:.0f} s"
        most = 0.0
        for n in range(MESSAGES):
            for device in fleet.devices[::TALKERS]:
                device.send(device.account.conversations[0], body(HUGE, n))
                device.flush()
            await fleet.quiesce(within_s=DRAIN_S)
            most = max(most, self.watch.rss_mb)
        for stranger in strangers:
            stranger.leave()
        return most - before


async def stall(url: str, accounts: Sequence[Account]) -> list[Stranger]:
    """Clients that say hello, and never read what follows the welcome."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(account: Account) -> Stranger:
        async with slots:
            stranger = Stranger(url)
            await stranger.enter(account.token, buffer=BUFFER)
            # The welcome: were all still to wait for it, the server would turn some of them away.
            await stranger.pass_over()
            stranger.stall()
            return stranger

    return list(await asyncio.gather(*(one(account) for account in accounts)))


async def run(stage: Stage) -> Findings:
    """Cycle after cycle, then many stalled readers at once."""
    options = stage.options
    async with _prepared(stage) as it:
        stage.progress.say(f"{_cycles(options)} cycles of {_work(options).connections} connections")
        for number in range(1, _cycles(options) + 1):
            await it.cycle(number)
        added = None if options.quick else await it.crush()
        findings = _findings(it, added)
        for device in it.fleet.devices:
            if not device.online:
                await it.fleet.open(device)
        if not await it.fleet.quiesce(within_s=DRAIN_S):
            findings.broken.append("the devices are not level in the end")
        await until(lambda: it.troubles.level(it.fleet), within_s=DRAIN_S)  # else the judge says so
        it.fleet.disconnect()
    return findings


@asynccontextmanager
async def _prepared(stage: Stage) -> AsyncIterator[Pressure]:
    environment = stage.environment
    if environment.database_url is None or environment.redis_url is None or not environment.servers:
        raise RigError("memory-pressure needs an environment of its own: leave out --url")
    talking = [a for n, a in enumerate(environment.accounts) if n % MEMBERS < TALKERS]
    stalled = [a for n, a in enumerate(environment.accounts) if n % MEMBERS >= TALKERS]
    troubles = Shown()
    async with AsyncExitStack() as stack:
        (server,) = environment.servers
        connection = await stack.enter_async_context(connected(environment.database_url))
        valkey = await stack.enter_async_context(Redis.from_url(environment.redis_url))
        fleet = Fleet(url=server.url, recorder=stage.recorder, observer=troubles)
        await fleet.connect(talking, starts=await starts_of(environment))
        yield Pressure(
            stage=stage,
            fleet=fleet,
            watch=Watch(server=server, connection=connection, valkey=valkey),
            troubles=troubles,
            stalled=stalled,
        )


def _findings(it: Pressure, added_mb: float | None) -> Findings:
    options = it.stage.options
    work = _work(options)
    found = statistics.judge(quiet.signals(it.samples), work)
    findings = Findings(outcomes=[], concluding=agreement)
    leaking = [slope.signal for slope in found.slopes if slope.grows]
    leaks = len(leaking) if found.verdict in statistics.LEAKS else 0
    findings.outcomes.append(
        outcome("T15", it.peak_mb, source=f"resident memory of the process, {work.connections} connections, most of them stalled")
    )  # fmt: skip
    if found.verdict != "too-short":
        findings.outcomes.append(outcome("T17", leaks, source=f"{found.verdict}: {found.reason}"))
    if added_mb is not None:
        source = (
            f"{STALLED_AT_ONCE} sessions that never read, each with more than its window to read"
        )
        findings.outcomes.append(outcome("G10", added_mb, source=source))
    findings.coverage.append(_exact(it))
    findings.broken += [*it.left[:3], *filter(None, [it.unopened])]
    if it.cut:
        findings.broken.append(f"in {it.cut} cycles the talking devices were not level in time")
    findings.figures = {
        "verdict": found.verdict,
        "reason": found.reason,
        "slopes": [f"{slope.signal}: {slope.text(work)}" for slope in found.slopes],
        "types_that_grew": quiet.growers(it.samples[min(SETTLING, len(it.samples) - 1)], it.samples[-1]),
        "quiet_before": quiet.facts(it.samples[0]),
        "quiet_after": quiet.facts(it.samples[-1]),
        "cycles": len(it.samples),
        "connections_per_cycle": work.connections,
        "messages_per_cycle": work.messages,
    }  # fmt: skip
    findings.steps = [{"cycle": n, **quiet.facts(s)} for n, s in enumerate(it.samples, 1)]
    note_troubles(it.fleet, findings, it.troubles)
    return findings


def _exact(it: Pressure) -> Covered:
    later = len(it.samples) - 1
    return Covered(
        name="after a cycle no socket, descriptor, thread, task, group, row or backend was left",
        kind="always",
        checked=later,
        held=later - len(it.left),
        witness=it.left[0] if it.left else "",
    )


def _named(left: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in left.items())


SCENARIO = Scenario(
    name="memory-pressure",
    group="stress",
    title="heavy cycles that may leave nothing behind",
    crowd=crowd,
    run=run,
    plan=plan,
    settings="perf.rig.inspection.settings",
    goals=frozenset({"lost", "lost ack", "reordered", "resume"}),
)
