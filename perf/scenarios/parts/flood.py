"""The shape of every flood: a calm phase, the flood, its end, the recovery, silence, judgement.

Calm devices keep an open loop all along. T18 is the time from the end of the flood until what
they send is served as in the calm phase (`perf.load.calm` says when that is).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from messaging.protocol.client.patience import Patience
from perf.coverage import Covered
from perf.history.testimony import clock
from perf.load.alongside import alongside
from perf.load.calm import FACTOR, Calm
from perf.load.device import Device
from perf.load.fleet import Fleet, until
from perf.load.generator import Generator
from perf.load.line import LOST, NO_CODE
from perf.load.observer import Observer, Troubles
from perf.load.plan import Phase, make
from perf.load.probe import Pulse, Resources
from perf.load.workload import OpenLoop
from perf.measure.latency import Latency
from perf.measure.processes import Group
from perf.rig.accounts import Account
from perf.scenario import Findings, Options, Stage
from perf.scenarios.parts.capacity import watched
from perf.scenarios.parts.shared import (
    agreement,
    conversations_of,
    note_generator,
    outcome_of,
    starts_of,
    still,
    usage_of,
)
from perf.targets import TABLE, Outcome, outcome

MEMBERS = 10  # of every conversation, calm or not
CALM_CONVERSATIONS, QUICK_CALM_CONVERSATIONS = 5, 2
CALM_RATE = 100.0  # messages a second of all calm devices together
CALM_S, QUICK_CALM_S = 5.0, 0.75
WARM_UP_S, QUICK_WARM_UP_S = 1.0, 0.25  # before the calm phase, not looked at
LIMIT_S = TABLE["T18"].limit
LOOK_S = 0.1
PONG_S = Patience().pong_ms / 1000  # then a client gives its connection up
SETTLE_S = 60.0  # of what the flooding devices still have to send

Storm = Callable[[], Awaitable[None]]
"""The flood itself: returns when nothing more of it is asked of the server."""


def calm_conversations(options: Options) -> int:
    """How many conversations are the bystanders'."""
    return QUICK_CALM_CONVERSATIONS if options.quick else CALM_CONVERSATIONS


def split(accounts: Sequence[Account], options: Options) -> tuple[list[Account], list[Account]]:
    """The accounts of the calm conversations, and those of the flood."""
    calm = set(conversations_of(accounts)[: calm_conversations(options)])
    quiet = [account for account in accounts if calm & set(account.conversations)]
    return quiet, [account for account in accounts if not calm & set(account.conversations)]


def calm_s(options: Options) -> float:
    """How long the calm phase lasts."""
    return QUICK_CALM_S if options.quick else CALM_S


def warm_up_s(options: Options) -> float:
    """What comes before it and is not looked at."""
    return QUICK_WARM_UP_S if options.quick else WARM_UP_S


def phases(options: Options, *, flood_s: float, **flood: Any) -> dict[str, Any]:
    """What --dry-run prints of it."""
    return {
        "calm": {"rate": CALM_RATE, "seconds": warm_up_s(options) + calm_s(options)},
        "flood": {"seconds": flood_s, **flood},
        "recovery": {"at_most_seconds": LIMIT_S, "no_slower_than": f"{FACTOR:g} times the calm"},
        "seconds": warm_up_s(options) + calm_s(options) + flood_s + LIMIT_S,
    }


class Sufferings(Troubles):
    """What honest devices meet in a flood. `codeless`: sessions that ended without a close code."""

    def __init__(self) -> None:
        super().__init__()
        self.codeless = 0
        self.last = 0.0  # the moment of the last refusal or closure

    def refused(self, device: Device, code: str, *, final: bool) -> None:
        """Count it."""
        super().refused(device, code, final=final)
        self.last = clock()

    def closed(self, device: Device, code: int) -> None:
        """Count it; an attempt that the device itself gave up was no session yet."""
        super().closed(device, code)
        self.last = clock()
        self.codeless += code in (NO_CODE, LOST) and not device.away


@dataclass(kw_only=True)
class Flood:
    """One run's parts, and the moments (seconds of `clock`) at which its phases began."""

    stage: Stage
    fleet: Fleet  # the calm devices
    calm: Calm
    generator: Generator
    resources: Resources
    pulse: Pulse
    others: list[Fleet] = field(default_factory=list)  # of the flood; honest devices all the same
    troubles: list[Sufferings] = field(default_factory=list)  # theirs
    calm_from: float = 0.0
    from_: float = 0.0
    until: float = 0.0
    recovered_s: float | None = None
    peak_rss_mb: float | None = None

    @property
    def bound_s(self) -> float | None:
        """What a window may take to count as calm; None if nothing arrived in the calm phase."""
        worst = self.calm.reference_s(self.calm_from, self.from_)
        return None if worst is None else FACTOR * worst

    def crew(self) -> Fleet:
        """A further fleet of honest devices, for the flood itself."""
        troubles = Sufferings()
        fleet = Fleet(
            url=self.stage.environment.url, recorder=self.stage.recorder, observer=troubles
        )
        self.others.append(fleet)
        self.troubles.append(troubles)
        return fleet

    async def endure(self, storm: Storm, *, flood_s: float) -> None:
        """Calm, flood, recovery. `flood_s` is what the plan reckons with; it may last longer."""
        options, say = self.stage.options, self.stage.progress.say
        seconds = warm_up_s(options) + calm_s(options) + 3 * flood_s + LIMIT_S
        plan = make(
            seed=options.seed,
            phases=[Phase(seconds=seconds, rate=CALM_RATE)],
            devices=len(self.fleet.devices),
        )
        work = OpenLoop(self.fleet.devices, plan, self.generator, self.stage.series)
        self.calm.begun = clock()
        with still():
            talking = alongside(work.run(self.calm.begun), self.pulse.run())
            async with self.generator.watched(), talking:
                say(f"calm: {CALM_RATE:.0f} messages a second")
                await asyncio.sleep(warm_up_s(options))
                self.calm_from = self._mark("calm")
                await asyncio.sleep(calm_s(options))
                self.from_ = self._mark("flood")
                async with self.resources.measured():
                    await storm()
                self.until = self._mark("recovery")
                say("the flood is over; waiting for calm")
                await self._recover()

    def _mark(self, phase: str) -> float:
        self.stage.series.mark(phase)
        return clock()

    async def _recover(self) -> None:
        while self.bound_s is not None and clock() < self.until + LIMIT_S + 1.0:
            await asyncio.sleep(LOOK_S)
            self.recovered_s = self.calm.recovered(self.until, bound_s=self.bound_s)
            if self.recovered_s is not None:
                # Errors of the flood's own devices count, too.
                last = max((one.last for one in self.troubles), default=0.0)
                self.recovered_s = round(max(self.recovered_s, last - self.until), 3)
                return

    # What it comes to

    def findings(self) -> Findings:
        """Hold what every flood measures against the targets, and name what must not be."""
        self.pulse.settle(lambda asked: True)
        found = Findings(outcomes=self._outcomes(), concluding=agreement)
        found.latency = self.during.summary()
        found.figures = self._figures()
        found.resources = dict(self.resources.usage)
        found.spectra = {
            "calm devices before the flood": self.calm.latency(self.calm_from, self.from_),
            "calm devices during the flood": self.during,
        }
        found.coverage.append(self._felt())
        found.broken += self._broken()
        if self.recovered_s is None:
            found.broken.append(
                f"within {LIMIT_S:.0f} s of the flood's end the calm devices were not served as before"
            )
        note_generator(self.generator, found)
        return found

    @property
    def during(self) -> Latency:
        """The calm devices' deliveries while it was flooded."""
        return self.calm.latency(self.from_, self.until)

    def _felt(self) -> Covered:
        """A flood that nobody felt was none, and that everything is well after it says nothing."""
        p99, bound = self.during.percentile(99) or 0.0, 1000 * (self.bound_s or 0)
        met = sum(len(one.closures) + sum(one.refusals.values()) for one in self.troubles)
        return Covered(
            name="the flood was felt",
            kind="sometimes",
            checked=1,
            held=int(met > 0 or p99 > bound),
            witness=f"calm devices' p99 {p99:,.0f} ms, calm is below {bound:,.0f}; {met:,} refusals and closures",
        )

    def _outcomes(self) -> list[Outcome]:
        bound = 1000 * (self.bound_s or 0)
        source = f"errors over and each quarter of a second's p99 within {bound:.0f} ms again ({FACTOR:g} times the worst of the calm phase)"
        honest = [device for fleet in (self.fleet, *self.others) for device in fleet.devices]
        there = 100 * sum(device.online for device in honest) / max(len(honest), 1)
        return [
            outcome_of(self.generator, "T18", self.recovered_s, source=source),
            outcome("T7", there, source=f"of {len(honest)} honest devices have a session after the recovery, their own further attempts included"),
            outcome_of(self.generator, "T9", self.pulse.uptime_percent, source=f"{self.pulse.asked} pings of calm devices answered within {PONG_S:.0f} s, after which a client gives up"),
            outcome("T15", usage_of(self.resources, "server", "rss_mb"), source="resident memory of the server's processes, at its most"),
        ]  # fmt: skip

    def _figures(self) -> dict[str, Any]:
        before = self.calm.latency(self.calm_from, self.from_)
        refusals: Counter[str] = Counter()
        for one in self.troubles:
            refusals.update(one.refusals)
        return {
            "calm_devices": len(self.fleet.devices),
            "calm_p99_ms": {"before": before.percentile(99), "during": self.during.percentile(99)},
            "calm_p50_ms": {"before": before.percentile(50), "during": self.during.percentile(50)},
            "calm_messages": {"asked": sum(w.asked for w in self.calm.windows.values())},
            "calm_refusals": self.calm.refusals,
            "flood_s": round(self.until - self.from_, 2),
            "recovered_after_s": self.recovered_s,
            "calm_again_below_ms": round(1000 * (self.bound_s or 0), 1),
            "refusals": dict(refusals),
            "closures": dict(Counter(str(code) for one in self.troubles for code in one.closures)),
            "generator": self.generator.figures(),
            "other_processes_cpu_percent": self.resources.others_percent,
        }

    def _broken(self) -> list[str]:
        wrong = []
        if self.calm.closures:
            codes = sorted(set(self.calm.closures))
            wrong.append(
                f"{len(self.calm.closures)} calm devices lost their connection, codes {codes}"
            )
        if self.calm.declined:
            wrong.append(
                f"{self.calm.declined} sends of calm devices were refused for good: {self.calm.refusals}"
            )
        if codeless := sum(one.codeless for one in self.troubles):
            wrong.append(f"{codeless} sessions of the flood were cut off without a code")
        return wrong


@asynccontextmanager
async def flooded(stage: Stage) -> AsyncIterator[Flood]:
    """The calm devices, connected, and everything that looks on."""
    environment = stage.environment
    quiet, _ = split(environment.accounts, stage.options)
    fleet = Fleet(url=environment.url, recorder=stage.recorder, observer=Observer())
    stage.progress.say(f"connecting {len(quiet)} calm devices")
    await fleet.connect(quiet, starts=await starts_of(environment))
    async with watched(environment) as beside:
        calm = Calm(others=MEMBERS - 1, meter=stage.series)
        fleet.observe(calm)
        groups: Mapping[str, Group] = beside.groups
        yield Flood(
            stage=stage,
            fleet=fleet,
            calm=calm,
            generator=Generator(stage.series),
            resources=Resources(groups),
            pulse=Pulse(fleet.devices, late_s=PONG_S),
        )


async def silence(flood: Flood, findings: Findings) -> None:
    """Wait until every honest device has its answers and is level, have each say where it is, end the sessions."""
    begun = clock()
    fleets = [flood.fleet, *flood.others]
    await until(
        lambda: not any(fleet.pending or fleet.behind() for fleet in fleets), within_s=SETTLE_S
    )
    pending, behind = sum(f.pending for f in fleets), sum(f.behind() for f in fleets)
    findings.figures["settled_after_s"] = round(clock() - begun, 2)
    if pending or behind:
        findings.broken.append(
            f"after {SETTLE_S:.0f} s {pending} requests are unanswered, {behind} cursors behind"
        )
    for fleet in fleets:
        fleet.disconnect()
