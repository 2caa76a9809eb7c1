"""Open-loop steps: at which rate is a message still with the others in time?

A step passes if the 99th percentile of the delivery, from the intended moment, is below its limit,
as much was stored as was asked for, nothing went wrong, and the generator was not late itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from perf.history.testimony import clock
from perf.load.fleet import Fleet
from perf.load.flow import Flow
from perf.load.generator import LATE_MS, Generator
from perf.load.knee import Knee
from perf.load.plan import Phase, make
from perf.load.probe import Resources
from perf.load.workload import OpenLoop
from perf.measure.latency import Latency
from perf.measure.processes import Group
from perf.scenario import Stage
from perf.scenarios.parts.shared import still, usage_of
from perf.targets import TABLE

LIMIT_MS = TABLE["T2"].limit
ENOUGH = 0.98  # of what was asked for must be stored by the end of the step
UNDER_WAY = 2  # messages that may be on their way at that moment, however slow the step
WARM_UP_S = 1.0  # of a step, not counted
DRAIN_S = 20.0  # after a step that was too much
FIRST = 0.3  # the first step's share of the capacity


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One rate that was tried: messages/s, ms and % of a core. `anomalies` are lost connections,
    refusals for good, and sends or cursors that were still open after the drain."""

    asked: float
    achieved: float
    delivered: float
    p50: float | None
    p99: float | None
    p99_uncorrected: float | None
    late_p99: float | None
    generator_cpu: float
    server_cpu: float | None
    postgres_cpu: float | None
    others_cpu: float | None
    anomalies: int
    failed_by: str = ""

    @property
    def passed(self) -> bool:
        """Whether the server held this rate."""
        return not self.failed_by

    @property
    def late(self) -> bool:
        """Whether it was the generator that did not keep it, so that nothing is known of the server."""
        return self.failed_by.startswith("the generator")


@dataclass(kw_only=True)
class Stairs:
    """All steps of a search, and everything that went wrong in them."""

    stage: Stage
    fleet: Fleet
    groups: Mapping[str, Group]
    step_s: float
    warm_up_s: float = WARM_UP_S
    steps: list[Step] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    generators: list[Generator] = field(default_factory=list)

    async def search(self, *, first: float) -> float | None:
        """Find the highest rate that passes and pass it again until it counts as sustained."""
        knee = Knee(first)
        while knee.rate is not None:
            step = await self.climb(knee.rate)
            knee.tell(passed=step.passed)
        return knee.found

    async def climb(self, rate: float) -> Step:
        """Try one rate."""
        number, flow = len(self.steps) + 1, Flow(self.stage.series)
        plan = make(
            seed=self.stage.options.seed + number,
            phases=[
                Phase(seconds=self.warm_up_s, rate=rate),
                Phase(seconds=self.step_s, rate=rate),
            ],
            devices=len(self.fleet.devices),
        )
        generator, resources = Generator(self.stage.series), Resources(self.groups)
        self.fleet.observe(flow)
        self.flows.append(flow)
        self.generators.append(generator)
        self.stage.series.mark(f"step {number}: {rate:,.0f} a second")
        work = OpenLoop(self.fleet.devices, plan, generator, self.stage.series)
        with still():
            async with generator.watched(), resources.measured():
                begun = clock()
                flow.count_from = begun + self.warm_up_s
                await work.run(begun)
            stored = flow.answer.count
        drained = await self.fleet.quiesce(within_s=DRAIN_S)
        step = self._step(rate, flow, generator, resources, stored=stored, drained=drained)
        self.steps.append(step)
        self._say(number, step)
        return step

    def _step(
        self,
        rate: float,
        flow: Flow,
        generator: Generator,
        resources: Resources,
        *,
        stored: int,
        drained: bool,
    ) -> Step:
        anomalies = flow.declined + len(flow.closures)
        if not drained:
            anomalies += self.fleet.pending + self.fleet.behind()
        step = Step(
            asked=round(rate, 1),
            achieved=round(stored / self.step_s, 1),
            delivered=round(flow.delivery.count / self.step_s, 1),
            p50=flow.delivery.percentile(50),
            p99=flow.delivery.percentile(99),
            p99_uncorrected=flow.uncorrected.percentile(99),
            late_p99=generator.lateness.percentile(99),
            generator_cpu=generator.cpu_percent,
            server_cpu=usage_of(resources, "server", "cpu_percent"),
            postgres_cpu=usage_of(resources, "postgres", "cpu_percent"),
            others_cpu=resources.others_percent,
            anomalies=anomalies,
        )
        return msgspec.structs.replace(
            step, failed_by=why_failed(step, share=(stored + UNDER_WAY) / max(flow.asked, 1))
        )

    def _say(self, number: int, step: Step) -> None:
        verdict = step.failed_by or "held"
        p99 = "no sample" if step.p99 is None else f"p99 {step.p99:.1f} ms"
        self.stage.progress.say(f"step {number}: {step.asked:,.0f} messages/s: {p99}, {verdict}")

    @property
    def corrected(self) -> Latency:
        """The delivery latencies of all steps that passed."""
        return self._merged([flow.delivery for flow in self._passed()])

    @property
    def uncorrected(self) -> Latency:
        """The same, from the real moment of each send."""
        return self._merged([flow.uncorrected for flow in self._passed()])

    def _passed(self) -> list[Flow]:
        pairs = zip(self.steps, self.flows, strict=True)
        return [flow for step, flow in pairs if step.passed]

    @staticmethod
    def _merged(parts: list[Latency]) -> Latency:
        whole = Latency()
        for part in parts:
            whole.merge(part)
        return whole


def why_failed(step: Step, *, share: float) -> str:
    """Why a step does not count as held; empty if it does. `share` of what was asked for was stored in time."""
    if step.anomalies:
        return f"{step.anomalies} anomalies"
    if step.p99 is None:
        return "nothing was measured"
    if step.late_p99 is not None and step.late_p99 >= LATE_MS:
        return f"the generator was {step.late_p99:.0f} ms late (p99)"
    if step.p99 >= LIMIT_MS:
        return f"p99 not below {LIMIT_MS:.0f} ms"
    if share < ENOUGH:
        return f"only {100 * share:.0f} % was stored in time"
    return ""
