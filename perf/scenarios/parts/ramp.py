"""A ramp by stairs: so many more sessions at each, and what holding them all is like.

Each step first opens its sessions as fast as ten at a time go (the connect rate), with messages in
the middle of it; then the last few at half that rate, timed from their intended moments (T1); then
a light load for everybody (T2), and silence (the idle CPU, the memory).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import msgspec
import psutil

from perf.history.testimony import clock
from perf.load.fleet import Fleet, until
from perf.load.flow import Flow
from perf.load.generator import Generator
from perf.load.observer import Sent
from perf.load.plan import Phase, make
from perf.load.probe import Resources
from perf.load.workload import OpenLoop, body
from perf.measure.latency import Latency
from perf.measure.processes import Group
from perf.progress import Bar
from perf.rig.accounts import Account
from perf.scenario import Stage
from perf.scenarios.parts.shared import conversations_of, still, usage_of
from perf.targets import TABLE

PACED_SHARE, PACED = 0.2, 200  # of a step's sessions are opened at a rate; at most so many
CALLED = 50  # conversations of a step that get a message in mid-ramp
REACH_S = 30.0  # T11's limit: who has not got the message by then never will
LOAD_RATE = 100.0  # messages/s to everybody: light
SETTLE_S = 20.0
FAILURES_LIMIT = 1 - TABLE["T7"].limit / 100


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What it is like with so many `connections`: rates per second, ms, % of a core, MB of the server.

    `reached` of `due` deliveries of the messages in mid-ramp came, `reach_ms` after the ramp's end.
    """

    connections: int
    connect_per_s: float
    connect_p50: float | None
    connect_p99: float | None
    delivery_p50: float | None
    delivery_p99: float | None
    ramp_cpu: float | None
    load_cpu: float | None
    idle_cpu: float | None
    rss_mb: float | None
    uss_mb: float | None
    due: int
    reached: int
    reach_ms: float
    failed: int
    generator_late: float | None
    failed_by: str = ""
    late: bool = False  # held, but new sessions took longer than T1 allows

    @property
    def held(self) -> bool:
        """Whether the server held that many."""
        return not self.failed_by


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a step was like: sessions opened as fast as they go and at a rate, a load, a silence."""

    attempts: int
    failed: int
    connect_per_s: float
    paced: Latency
    flow: Flow
    generator: Generator
    ramp: Resources
    load: Resources
    idle: Resources
    due: int
    reached: int
    reach_s: float


@dataclass(kw_only=True)
class Ramp:
    """All steps, and everything that was measured in them."""

    stage: Stage
    fleet: Fleet
    groups: Mapping[str, Group]
    load_s: float
    idle_s: float
    steps: list[Step] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    generators: list[Generator] = field(default_factory=list)
    paced: Latency = field(default_factory=Latency)
    elsewhere: int = 0  # sessions that are open, but not of this fleet
    _dice: Random = field(init=False)

    def __post_init__(self) -> None:
        self._dice = Random(self.stage.options.seed)

    @property
    def online(self) -> int:
        """Sessions that are open now, those of others (`elsewhere`) among them."""
        return self.fleet.online + self.elsewhere

    async def climb(self, accounts: Sequence[Account]) -> Step:
        """Add these sessions and look what it is like."""
        target = self.online + len(accounts)
        self.stage.series.mark(f"to {target:,} connections")
        flow, generator = Flow(self.stage.series), Generator(self.stage.series)
        self.fleet.observe(flow)
        failed = len(self.fleet.failures)
        with still(), self.stage.progress.bar(f"to {target:,} connections", len(accounts)) as bar:
            async with generator.watched():
                rate, paced, calls, ramp = await self._connect(accounts, bar)
                due, reached, took = await self._reach(calls)
                load = await self._load(flow, generator)
            idle = await self.measured(asyncio.sleep(self.idle_s))
        return await self.conclude(
            Seen(
                attempts=len(accounts),
                failed=len(self.fleet.failures) - failed,
                connect_per_s=rate,
                paced=paced,
                flow=flow,
                generator=generator,
                ramp=ramp,
                load=load,
                idle=idle,
                due=due,
                reached=reached,
                reach_s=took,
            )
        )

    async def conclude(self, seen: Seen) -> Step:
        """Make a step of what was seen, and remember it."""
        self.paced.merge(seen.paced)
        self.flows.append(seen.flow)
        self.generators.append(seen.generator)
        step = Step(
            connections=self.online,
            connect_per_s=round(seen.connect_per_s, 1),
            connect_p50=seen.paced.percentile(50),
            connect_p99=seen.paced.percentile(99),
            delivery_p50=seen.flow.delivery.percentile(50),
            delivery_p99=seen.flow.delivery.percentile(99),
            ramp_cpu=usage_of(seen.ramp, "server", "cpu_percent"),
            load_cpu=usage_of(seen.load, "server", "cpu_percent"),
            idle_cpu=usage_of(seen.idle, "server", "cpu_percent"),
            rss_mb=usage_of(seen.load, "server", "rss_mb"),
            uss_mb=await asyncio.to_thread(unshared_mb, self.groups["server"]),
            due=seen.due,
            reached=seen.reached,
            reach_ms=round(seen.reach_s * 1000, 1),
            failed=seen.failed,
            generator_late=seen.generator.lateness.percentile(99),
        )
        step = msgspec.structs.replace(
            step, failed_by=why_failed(step, attempts=seen.attempts), late=is_late(step)
        )
        self.steps.append(step)
        self._say(step)
        return step

    async def _connect(
        self, accounts: Sequence[Account], bar: Bar
    ) -> tuple[float, Latency, list[Sent], Resources]:
        """Open the sessions of a step; return the rate, the times of the paced ones and the messages sent meanwhile."""
        mixed = self._dice.sample(accounts, len(accounts))
        paced = mixed[: min(PACED, max(1, round(PACED_SHARE * len(mixed))))]
        early, late = mixed[len(paced) :: 2], mixed[len(paced) + 1 :: 2]
        resources, begun = Resources(self.groups), clock()
        before = len(self.fleet.connect_s)
        async with resources.measured():
            await self._open(early, bar)
            connecting = asyncio.create_task(self._open(late, bar))
            await asyncio.sleep(0)  # the first of them are under way
            calls = self._call(early)
            await connecting
        rate = (len(self.fleet.connect_s) - before) / max(clock() - begun, 1e-9)
        before = len(self.fleet.connect_s)
        await self._open(paced, bar, rate=max(rate / 2, 1.0))
        times = Latency()
        times.extend(self.fleet.connect_s[before:])
        return rate, times, calls, resources

    async def _open(
        self, accounts: Sequence[Account], bar: Bar, *, rate: float | None = None
    ) -> None:
        if accounts:
            await self.fleet.connect(
                accounts,
                starts={},
                rate=rate,
                done=bar.advance,
            )

    def _call(self, accounts: Sequence[Account]) -> list[Sent]:
        """Send a message in conversations of this step, while others of their members are still connecting."""
        wanted = set(conversations_of(accounts)[:CALLED])
        sends: list[Sent] = []
        for device in self.fleet.devices[-len(accounts) :]:
            conversation = device.account.conversations[0]
            if conversation in wanted and device.online:
                wanted.remove(conversation)
                sends.append(device.send(conversation, body(100, len(sends))))
                device.flush()
        return sends

    async def _reach(self, calls: Sequence[Sent]) -> tuple[int, int, float]:
        """Wait until everybody has the messages; return how many deliveries were due, how many came, in what time."""
        members = self.fleet.members()
        begun = clock()

        def missing() -> int:
            return sum(
                not call.seq or device.client.cursors.get(call.conversation, 0) < call.seq
                for call in calls
                for device in members[call.conversation]
            )

        await until(lambda: not missing(), within_s=REACH_S)
        due = sum(len(members[call.conversation]) for call in calls)
        return due, due - missing(), clock() - begun

    async def _load(self, flow: Flow, generator: Generator) -> Resources:
        """A light load for everybody."""
        plan = make(
            seed=self.stage.options.seed + len(self.flows) + 1,
            phases=[Phase(seconds=self.load_s, rate=self.stage.options.rate or LOAD_RATE)],
            devices=len(self.fleet.devices),
        )
        work = OpenLoop(self.fleet.devices, plan, generator, self.stage.series)
        begun = flow.count_from = clock()
        resources = Resources(self.groups)
        async with resources.measured():
            await work.run(begun)
            await self.fleet.quiesce(within_s=SETTLE_S)
        return resources

    async def measured(self, work: Awaitable[object]) -> Resources:
        """Do this, and look at the processes meanwhile."""
        resources = Resources(self.groups)
        async with resources.measured():
            await work
        return resources

    def _say(self, step: Step) -> None:
        self.stage.progress.say(
            f"{step.connections:,} connections: {step.connect_per_s:,.0f}/s, session p99 "
            f"{step.connect_p99 or 0:.0f} ms, server {step.rss_mb or 0:.0f} MB, "
            f"idle {step.idle_cpu or 0:.0f} % of a core: {step.failed_by or ('held, late' if step.late else 'held')}"
        )


def why_failed(step: Step, *, attempts: int) -> str:
    """Why a step does not count as held; empty if it does."""
    if step.failed > FAILURES_LIMIT * attempts:
        return f"{step.failed} of {attempts} sessions could not be opened"
    if step.reached < step.due:
        return f"a message in mid-ramp reached only {step.reached} of {step.due} devices"
    return ""


def is_late(step: Step) -> bool:
    """Whether a session took longer to open than T1 allows."""
    return step.connect_p99 is not None and step.connect_p99 >= TABLE["T1"].limit


def unshared_mb(group: Group) -> float | None:
    """Memory in MB that would come back if the group ended; None if nobody may look."""
    found = []
    for process in group():
        with suppress(psutil.Error):
            found.append(process.memory_full_info().uss)
    return round(sum(found) / 2**20, 2) if found else None
