"""`perf stress reconnect-storm`: two thousand devices lose their connection in one moment, and all are caught up.

As after a switch or a load balancer that fell over: the server stands, everybody comes back at once by the
clients' own rules, and meanwhile somebody has spoken in each of their conversations. It is over when every
device is welcomed and level; calm devices beside them, who lost nothing, should hardly notice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from messaging.protocol.errors import CloseCode
from perf.coverage import Covered
from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.fleet import Fleet, until
from perf.load.workload import body
from perf.measure import metrics
from perf.measure.latency import Latency
from perf.rig.environment import Crowd
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.parts.flood import (
    LIMIT_S,
    MEMBERS,
    Flood,
    calm_conversations,
    flooded,
    phases,
    silence,
    split,
)
from perf.scenarios.parts.shared import starts_of
from perf.targets import outcome

DEVICES, QUICK_DEVICES = 2_000, 100  # that lose their connection
MISSED = 5  # messages of each conversation meanwhile
LENGTH = 100
LOOK_S = 0.1
LONGEST_S = 2 * LIMIT_S  # to come back: a failure then, and no figure


@dataclass(kw_only=True)
class Storm:
    """Who is cut off, who goes on talking, and how long it took (s, from the cut)."""

    fleet: Fleet
    talkers: list[Device]
    cut: list[Device]
    began: float = 0.0
    converged_s: float | None = None
    served: metrics.Buckets = field(default_factory=dict)
    welcomed: Latency = field(default_factory=Latency)  # from the cut, of those who came back

    @classmethod
    def of(cls, fleet: Fleet) -> Storm:
        """The first device of each conversation stays."""
        first: dict[str, Device] = {}
        for device in fleet.devices:
            first.setdefault(device.account.conversations[0], device)
        talkers = list(first.values())
        staying = {device.number for device in talkers}
        cut = [device for device in fleet.devices if device.number not in staying]
        return cls(fleet=fleet, talkers=talkers, cut=cut)

    async def run(self, url: str) -> None:
        """Cut them off, say what they miss, and wait until everybody is back and level."""
        before = await metrics.statement_buckets(url)
        self.began = clock()
        for device in self.cut:
            device.drop()
        for device in self.talkers:
            for number in range(MISSED):
                device.send(device.account.conversations[0], body(LENGTH, number))
            device.flush()
        await asyncio.sleep(LOOK_S)  # or the first look would find nothing behind
        if await until(self._level, within_s=LONGEST_S, look_s=LOOK_S):
            self.converged_s = clock() - self.began
        back = [device for device in self.cut if device.online and device.since > self.began]
        self.welcomed.extend([device.since - self.began for device in back])
        self.served = metrics.since(before, await metrics.statement_buckets(url))

    def _level(self) -> bool:
        fleet = self.fleet
        back = fleet.online == len(fleet.devices)
        return back and not fleet.pending and not fleet.behind()


def crowd(options: Options) -> Crowd:
    """The calm devices, and conversations of ten of which nine are cut off."""
    cut = options.devices or (QUICK_DEVICES if options.quick else DEVICES)
    conversations = -(-cut // (MEMBERS - 1))
    return Crowd(conversations=calm_conversations(options) + conversations, members=MEMBERS)


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints."""
    conversations = crowd(options).conversations - calm_conversations(options)
    return phases(
        options, flood_s=LIMIT_S, cut_off=conversations * (MEMBERS - 1), missed_each=MISSED
    )


async def run(stage: Stage) -> Findings:
    """Calm, the storm, calm again."""
    _, accounts = split(stage.environment.accounts, stage.options)
    async with flooded(stage) as flood:
        fleet = flood.crew()
        stage.progress.say(f"connecting {len(accounts)} devices")
        await fleet.connect(accounts, starts=await starts_of(stage.environment))
        storm = Storm.of(fleet)

        async def strike() -> None:
            stage.progress.say(f"{len(storm.cut)} devices lose their connection")
            await storm.run(stage.environment.url)

        await flood.endure(strike, flood_s=LIMIT_S)
        flood.recovered_s = _since_the_cut(flood, storm)
        findings = flood.findings()
        await silence(flood, findings)
    _conclude(flood, storm, findings)
    return findings


def _since_the_cut(flood: Flood, storm: Storm) -> float | None:
    """When everybody was level *and* the calm devices were served as before; None if never."""
    if storm.converged_s is None or flood.recovered_s is None:
        return None
    return round(storm.converged_s + flood.recovered_s, 2)


def _conclude(flood: Flood, storm: Storm, findings: Findings) -> None:
    turned_away = Counter(code for one in flood.troubles for code in one.closures)[CloseCode.FULL]
    welcomed = storm.welcomed
    findings.outcomes.append(
        outcome("T4", metrics.percentile_ms(metrics.merged(storm.served), 99), source="the server's own /metrics, during the storm")
    )  # fmt: skip
    findings.coverage = [_came_back(storm)]  # that nobody else felt it is no fault
    findings.figures |= {
        "cut_off": len(storm.cut),
        "converged_after_s": None if storm.converged_s is None else round(storm.converged_s, 2),
        "welcome_p50_ms": welcomed.percentile(50),
        "welcome_p99_ms": welcomed.percentile(99),
        "welcome_last_ms": welcomed.summary().max,
        "turned_away": turned_away,
        "connections_per_device": round(sum(d.sessions for d in storm.cut) / len(storm.cut) - 1, 2),
        "server_statement_p99_ms": {
            name: metrics.percentile_ms(buckets, 99) for name, buckets in storm.served.items()
        },
    }
    findings.spectra["from the cut to the welcome"] = welcomed
    if storm.converged_s is None:
        findings.broken.append(
            f"{len(storm.fleet.devices) - storm.fleet.online} devices were not back, "
            f"{storm.fleet.behind()} cursors behind, {LONGEST_S:.0f} s after the cut"
        )


def _came_back(storm: Storm) -> Covered:
    return Covered(
        name="who was cut off came back",
        kind="always",
        checked=len(storm.cut),
        held=storm.welcomed.count,
    )


SCENARIO = Scenario(
    name="reconnect-storm",
    group="stress",
    title="two thousand devices lose their connection at once, and all are caught up",
    crowd=crowd,
    run=run,
    plan=plan,
    full=False,
    goals=frozenset({"lost", "lost ack", "reordered", "resume gap", "resume", "catch-up"}),
)
