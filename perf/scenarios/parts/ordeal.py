"""One fault from calm to judgement: load on two servers, the fault, recovery, silence, what it comes to.

The second server is reached, and reaches PostgreSQL and Valkey, through proxies of the rig. All
conversations have devices on both servers. When the fault begins and how long it lasts comes from the seed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from perf import faults
from perf.checkers import judge
from perf.faults.fault import Fault, Known, Site
from perf.faults.links import links
from perf.faults.schedule import Moment, moment
from perf.history import events
from perf.history.reader import load
from perf.history.recorder import Recorder
from perf.history.rundir import RunDirectory
from perf.history.testimony import clock
from perf.load.alongside import alongside
from perf.load.calm import FACTOR
from perf.load.fleet import Fleet, until
from perf.load.generator import Generator
from perf.load.plan import Mix, Phase, make
from perf.load.workload import OpenLoop
from perf.rig.accounts import Account
from perf.rig.children import RigError
from perf.rig.database import connected, write_final_reads
from perf.rig.server import Server
from perf.scenario import Stage
from perf.scenarios.parts import dose
from perf.scenarios.parts.bystanders import Bystanders
from perf.scenarios.parts.endured import Endured
from perf.scenarios.parts.shared import conversations_of
from perf.targets import TABLE

RESTLESS_SHARE = 0.1  # of that rate, by the restless ones
STEADY_MIX = Mix(send=0.8, edit=0.1, read=0.05, reply=0.05)
RESTLESS_MIX = Mix(send=0.45, edit=0.2, delete=0.1, read=0.1, resume=0.1, reply=0.05)
WARM_S = 1.0
LIMIT_S = TABLE["T11"].limit
SETTLE_S = 45.0  # who has lost its connection unnoticed sees it after 28 s (the client's rule)
REPAIRED_S = 6.0  # marks whose hint a fault has swallowed are found within 5 s (G6)
FLOOR_S = 0.05  # T2's limit: faster than that is well, however calm it was before
LOOK_S = 0.1
LOAD_S = 300.0  # the plan is longer than any ordeal
GOALS = frozenset(
    (
        *("lost", "duplicated", "reordered", "gap", "lost ack", "nonmonotonic send"),
        *("receipt regression", "phantom receipt", "lost receipt", "fault felt"),
    )
)


@dataclass(kw_only=True)
class Ordeal:
    """One fault under way."""

    stage: Stage
    site: Site
    fault: Fault
    moment: Moment
    watch: Bystanders
    recorder: Recorder
    generator: Generator
    endured: Endured
    whole: Fleet  # all devices
    calm_from: float = 0.0
    since: float = 0.0  # the fault's beginning

    async def run(self) -> None:
        """Calm, fault, recovery, and load until enough was delivered."""
        options, begun = self.stage.options, clock()
        self.watch.begun = begun
        async with self.generator.watched(), alongside(*(one.run(begun) for one in self._loads())):
            await asyncio.sleep(WARM_S)
            self.calm_from = clock()
            await asyncio.sleep(dose.calm_s(options) + self.moment.after_s)
            healed = await self._strike(self.moment.hold_s)
            await self._recover(healed)
            await until(
                lambda: self.watch.deliveries > dose.wanted(options),
                within_s=LOAD_S - (clock() - begun),
                look_s=LOOK_S,
            )
        await self._silence()

    def serving(self) -> list[psutil.Process]:
        """The processes of both servers that serve."""
        servers = (self.site.environment.servers[0], self.site.victim)
        return [process for server in servers for process in server.workers()]

    def _loads(self) -> list[OpenLoop]:
        options = self.stage.options
        rate = dose.rate_of(options)
        last = self.site.conversations[-1]
        steady = [one for one in self.site.devices if one.account.conversations[0] != last]
        restless = [one for one in self.site.devices if one.account.conversations[0] == last]
        shares = ((steady, rate, STEADY_MIX), (restless, RESTLESS_SHARE * rate, RESTLESS_MIX))
        return [
            OpenLoop(
                devices,
                make(
                    seed=options.seed + number,
                    phases=[Phase(seconds=LOAD_S, rate=share)],
                    devices=len(devices),
                    mix=mix,
                ),
                self.generator,
                self.stage.series,
            )
            for number, (devices, share, mix) in enumerate(shares)
        ]

    async def _strike(self, hold_s: float) -> float:
        """Let it happen and heal it, whatever comes; return when it was over."""
        fault, since = self.fault, clock()
        self.since = since
        self.endured.before = self.watch.latency(self.calm_from, since)
        reference = self.watch.reference_s(self.calm_from, since)
        self.endured.bound_ms = 1000 * max(FACTOR * (reference or 0), FLOOR_S)
        self._note("begin", since)
        self.stage.progress.say(f"{fault.name}: {fault.what}")
        try:
            await fault.begin()
            fault.testify(since)
            over = since if not fault.lasting else clock()
            await asyncio.sleep(hold_s)
            await self._feel()
        finally:
            if fault.lasting:
                over = clock()
            await fault.end()
            fault.testify(since, clock())
        self._note("end", over)
        self.endured.lasted_s = over - since
        return over

    async def _feel(self) -> None:
        """Keep the most that was felt so far."""
        for name, value in (await self.fault.felt()).items():
            self.endured.felt[name] = max(value, self.endured.felt.get(name, 0.0))

    async def _recover(self, healed: float) -> None:
        bound_s = self.endured.bound_ms / 1000
        while clock() < healed + LIMIT_S + SETTLE_S:
            await asyncio.sleep(LOOK_S)
            recovered = self.watch.recovered(healed, bound_s=bound_s)
            if recovered is not None:
                self.endured.recovery_s = round(recovered, 2)
                break
        await self._feel()  # what came of it may be met only now
        felt = self.endured.felt
        self.endured.unfelt = self.fault.unfelt(felt)
        self._note("felt", clock(), **{name: value for name, value in felt.items() if value})

    def _note(self, phase: Any, moment: float, **effect: float) -> None:
        event = events.Fault(
            t=int(moment * 1e9), name=self.fault.name, phase=phase, target="", effect=effect
        )
        self.recorder.record(event)
        self.stage.recorder.record(event)  # the report shades its plots by this one
        self.stage.series.mark(f"{self.fault.name} {phase}")

    async def _silence(self) -> None:
        """Wait until everyone is level; have everyone say where they are; end the sessions."""
        if not await self.whole.quiesce(within_s=SETTLE_S):
            self.endured.broken.append(
                f"after {SETTLE_S:.0f} s {self.whole.pending} requests are unanswered, "
                f"{self.whole.behind()} cursors behind"
            )
        self.endured.after = self.watch.latency(self.since, clock())
        await asyncio.sleep(REPAIRED_S)
        self.whole.disconnect()


async def endure(stage: Stage, name: str, accounts: Sequence[Account]) -> Endured:
    """Bring about the fault of this name under load of these accounts. Raises RigError, FleetError."""
    known = faults.ALL[name]
    return await suffer(stage, known, Endured(name=name, what=known.what), accounts)


async def suffer(
    stage: Stage, known: Known, endured: Endured, accounts: Sequence[Account]
) -> Endured:
    """The same with any fault, for who tries the trial."""
    endured.skipped = known.why_not()
    if endured.skipped:
        return endured
    directory = stage.directory.within(f"faults/{endured.name}")
    async with _prepared(stage, known, endured, accounts, directory) as ordeal:
        serving = ordeal.serving()
        await ordeal.run()
        ended = sum(not process.is_running() for process in serving)
        if ended and not ordeal.fault.ends_servers:
            endured.broken.append(f"{ended} server processes ended, which was no part of the fault")
        endured.refusals = dict(ordeal.watch.refusals)
        endured.closures = len(ordeal.watch.closures)
        endured.broken += ordeal.fault.broken
        endured.checked = ordeal.fault.checked
        if ordeal.watch.declined:
            endured.broken.append(
                f"{ordeal.watch.declined} requests were refused for good: {endured.refusals}"
            )
    await _judge(stage, endured, directory, accounts)
    if endured.recovery_s is None:
        endured.broken.append(f"within {LIMIT_S + SETTLE_S:.0f} s it was not as before")
    return endured


@asynccontextmanager
async def _prepared(
    stage: Stage,
    known: Known,
    endured: Endured,
    accounts: Sequence[Account],
    directory: RunDirectory,
) -> AsyncIterator[Ordeal]:
    place, seed, victims = stage.environment, stage.options.seed, list[Server]()
    if place.kept is None:
        raise RigError("faults need a private environment: leave out --url")
    async with (
        known.lay(place) as ground,
        links(place.kept.addresses, server=victims, seed=seed, address=ground.address) as lines,
        place.beside(f"second-{endured.name}", lines.addresses, host=ground.host) as victim,
    ):
        victims.append(victim)
        url = lines.url if ground.host is None else victim.url
        with Recorder(
            directory.history_of(0),
            run=f"{stage.recorder.run}-{endured.name}",
            scenario=endured.name,
            seed=seed,
        ) as recorder:
            near, far, watch = await _connected(stage, accounts, url, recorder)
            site = Site(
                environment=place,
                kept=place.kept,
                victim=victim,
                links=lines,
                near=near,
                far=far,
                troubles=watch,
                promised=watch.promised,
                ground=ground,
                seed=seed,
            )
            ordeal = _ordeal(stage, known, endured, site, watch)
            await ordeal.fault.prepare()
            yield ordeal


def _ordeal(stage: Stage, known: Known, endured: Endured, site: Site, watch: Bystanders) -> Ordeal:
    recorder = site.near.recorder
    whole = Fleet(url=stage.environment.url, recorder=recorder, observer=watch)
    whole.devices = site.devices
    return Ordeal(
        stage=stage,
        site=site,
        fault=known.make(site),
        moment=moment(stage.options.seed, endured.name, known.hold_s),
        watch=watch,
        recorder=recorder,
        generator=Generator(stage.series),
        endured=endured,
        whole=whole,
    )


async def _connected(
    stage: Stage, accounts: Sequence[Account], far_url: str, recorder: Recorder
) -> tuple[Fleet, Fleet, Bystanders]:
    """Every second member of each conversation on the first server, the others on the second."""
    names = conversations_of(accounts)
    others = dose.members(stage.options) - 1
    watch = Bystanders(others=others, restless=names[-1:], meter=stage.series)
    groups = [[one for one in accounts if one.conversations[0] == name] for name in names]
    near = Fleet(url=stage.environment.url, recorder=recorder, observer=watch)
    far = Fleet(url=far_url, recorder=recorder, observer=watch)
    await near.connect([one for group in groups for one in group[0::2]], starts={})
    await far.connect([one for group in groups for one in group[1::2]], starts={})
    return near, far, watch


async def _judge(
    stage: Stage, endured: Endured, directory: RunDirectory, accounts: Sequence[Account]
) -> None:
    assert stage.environment.database_url is not None
    users = {account.user for account in accounts}
    async with connected(stage.environment.database_url) as connection:
        await write_final_reads(connection, directory.stored, starts={}, users=users)
    endured.judgement = await asyncio.to_thread(lambda: judge(load(directory), goals=GOALS))
    if endured.judgement.liveness.behind:
        endured.broken.append(f"{endured.judgement.liveness.behind} devices never caught up")
