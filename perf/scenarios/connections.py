"""`perf stress connections`: how many sessions a server holds, what each costs, and what is left when all go.

Stairs up to 10,000 connections (`--devices` for more; what one process may not open is carried by others). At
every step: the connect rate, T1, a light load, silence. In the end everybody leaves, and descriptors, rows,
subscriptions and the server's own count must be exactly what they were.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from perf.coverage import Covered
from perf.load.alongside import alongside
from perf.load.crew import Crew, crew
from perf.load.fleet import RESERVE, Fleet, room, workers_for
from perf.load.generator import Generator
from perf.load.observer import Observer
from perf.load.probe import Pulse
from perf.measure.latency import Latency
from perf.rig.environment import Crowd
from perf.rig.limits import raise_file_limit
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.parts.beyond import Beyond
from perf.scenarios.parts.capacity import watched
from perf.scenarios.parts.ceiling import held_of, limit_of, per_connection_kib
from perf.scenarios.parts.ramp import LOAD_RATE, Ramp, Step
from perf.scenarios.parts.shared import (
    agreement,
    connected_percent,
    note_generator,
    note_troubles,
    outcome_of,
    settle,
)
from perf.scenarios.parts.traces import Traces, gone, look
from perf.targets import TABLE, Outcome, outcome

STAIRS, QUICK_STAIRS = (100, 1_000, 2_500, 5_000, 7_500, 10_000), (40, 80, 120)
BEYOND = 5_000  # more at every stair after the last of these
MEMBERS = 10  # of a conversation
WARM_UP = 20  # devices that come and go first, so that the server has opened what it keeps open
LOAD_S, QUICK_LOAD_S = 3.0, 0.5
IDLE_S, QUICK_IDLE_S = 3.0, 0.3
GONE_S = (
    TABLE["T11"].limit if "T11" in TABLE else 30.0
)  # everything back within what recovery may take
CONNECT_PER_S = 150  # of a usual machine; only the plan's cost depends on it
STRAIGHT = 0.95  # correlation: below, memory does not grow with the connections in a line


def stairs(options: Options) -> list[int]:
    """How many connections each step goes to: whole conversations."""
    usual = QUICK_STAIRS if options.quick else STAIRS
    most = options.devices or usual[-1]
    steps = [step for step in usual if step < most]
    while steps and steps[-1] + BEYOND < most and steps[-1] >= usual[-1] - BEYOND:
        steps.append(steps[-1] + BEYOND)
    return [max(step // MEMBERS, 1) * MEMBERS for step in [*steps, most]]


def crowd(options: Options) -> Crowd:
    """Conversations of 10 devices, and two for the warm-up."""
    return Crowd(conversations=(stairs(options)[-1] + WARM_UP) // MEMBERS, members=MEMBERS)


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints."""
    steps = stairs(options)
    load_s, idle_s = _seconds(options)
    return {
        "stairs": steps,
        "at_each": {"load_s": load_s, "rate": options.rate or LOAD_RATE, "idle_s": idle_s},
        "seconds": round(steps[-1] / CONNECT_PER_S + len(steps) * (load_s + idle_s + 2)),
    }


def _seconds(options: Options) -> tuple[float, float]:
    if options.quick:
        return QUICK_LOAD_S, QUICK_IDLE_S
    return options.duration_s or LOAD_S, IDLE_S


async def run(stage: Stage) -> Findings:
    """Climb, then send everybody home."""
    place, options = stage.environment, stage.options
    accounts = [account for account in place.accounts if account.conversations]
    devices = [account.device for account in accounts]
    await _warm_up(stage)
    before = await look(place, devices)
    fleet = Fleet(url=place.url, recorder=stage.recorder, observer=Observer())
    load_s, idle_s = _seconds(options)
    async with watched(place) as beside, _crew(stage) as hands:
        ramp = Ramp(stage=stage, fleet=fleet, groups=beside.groups, load_s=load_s, idle_s=idle_s)
        beyond = Beyond(ramp=ramp, crew=hands, members=MEMBERS)
        pulse = Pulse(fleet.devices)
        limit = await _climb(beyond, pulse)
        findings = _findings(beyond, pulse)
        top = await look(place, devices)
        findings.coverage.append(_seen(top, before, connections=ramp.online))
        findings.limiting = limit
        if beside.statements is not None:
            findings.figures["database_statements"] = await beside.statements.top(6)
        await hands.finish()
        await settle(fleet, findings)
        stage.progress.say("everybody has left; waiting until nothing is left of them")
        left, took = await gone(place, devices, before, within_s=GONE_S)
    findings.figures["traces"] = {
        "before": msgspec.to_builtins(before),
        "at_the_top": msgspec.to_builtins(top),
        "after": msgspec.to_builtins(left),
    }
    _note_traces(findings, before, left, took)
    findings.concluding = agreement
    note_troubles(fleet, findings, *ramp.flows)
    _note_crew(findings, beyond)
    return findings


@asynccontextmanager
async def _crew(stage: Stage) -> AsyncIterator[Crew]:
    """As many workers as the devices need that are too many for this process; often none."""
    place = stage.environment
    async with crew(
        url=place.url,
        workers=workers_for(stairs(stage.options)[-1] - own_room()),
        recorder=stage.recorder,
        directory=stage.directory,
        meter=stage.series,
        seed=stage.options.seed,
        env=place.env,
    ) as hands:
        yield hands


def _note_crew(findings: Findings, beyond: Beyond) -> None:
    hands = beyond.crew
    if hands.hands:
        findings.figures["generator_processes"] = 1 + len(hands.hands)
        findings.figures["connections_of_the_crew"] = hands.devices
    if hands.failures:
        findings.broken.append(
            f"{len(hands.failures)} devices of the crew could not connect: {hands.failures[0]}"
        )
    if beyond.unsettled:
        findings.broken.append(
            f"{beyond.unsettled} requests and cursors of the crew were open after its loads"
        )


async def _warm_up(stage: Stage) -> None:
    """Let some devices come, talk and go."""
    fleet = Fleet(url=stage.environment.url, recorder=stage.recorder, observer=Observer())
    await fleet.connect(stage.environment.accounts[-WARM_UP:], starts={})
    for device in fleet.devices:
        device.send(device.account.conversations[0], "warm")
        device.flush()
    await fleet.quiesce(within_s=10)
    fleet.disconnect()


async def _climb(beyond: Beyond, pulse: Pulse) -> str:
    """Take one step after the other until one is not held; return what the limit was."""
    ramp = beyond.ramp
    most, own = room_for(ramp.stage.options.processes), own_room()
    accounts = ramp.stage.environment.accounts
    known = 0
    async with alongside(pulse.run()):
        for target in stairs(ramp.stage.options):
            end = min(target, most, len(accounts))
            if end <= known:
                break
            climb = ramp.climb if end <= own else beyond.climb
            step = await climb(accounts[known:end])
            known = end
            if not step.held:
                break
    pulse.settle(lambda asked: False)
    return limit_of(ramp.steps, room=most if step.held else None)


def own_room() -> int:
    """How many sessions this process may have, in whole conversations."""
    return room() // MEMBERS * MEMBERS


def room_for(processes: int) -> int:
    """How many sessions the file limits of the server's processes allow; they have the same as this one."""
    return processes * (raise_file_limit() - RESERVE) // MEMBERS * MEMBERS


def _findings(beyond: Beyond, pulse: Pulse) -> Findings:
    ramp = beyond.ramp
    found = Findings(outcomes=_outcomes(beyond, pulse), latency=_delivery(ramp).summary())
    slope = per_connection_kib(ramp.steps)
    if slope is None:
        found.unknown.append("memory per connection: fewer than three steps, or nobody may look")
    else:
        found.figures["server_kib_per_connection"] = round(slope[0], 1)
        found.figures["straightness"] = round(slope[1], 4)
        if slope[1] < STRAIGHT and not ramp.stage.options.quick:
            found.figures["remark"] = "memory does not grow in a line: take the slope with care"
    last = ramp.steps[-1]
    found.figures |= {
        "connections_held": held_of(ramp.steps),
        "connect_per_s_at_the_top": last.connect_per_s,
        "idle_cpu_percent_at_the_top": last.idle_cpu,
        "server_rss_mb_at_the_top": last.rss_mb,
        "pings": pulse.asked,
    }
    found.steps = [msgspec.to_builtins(step) for step in ramp.steps]
    found.spectra = {"session opened, at a rate": ramp.paced, "delivery": _delivery(ramp)}
    found.coverage.append(_reached(ramp.steps))
    note_generator(_worst(ramp), found)
    return found


def _worst(ramp: Ramp) -> Generator:
    return max(ramp.generators, key=lambda one: one.lateness.percentile(99) or 0)


def _delivery(ramp: Ramp) -> Latency:
    whole = Latency()
    for flow in ramp.flows:
        whole.merge(flow.delivery)
    return whole


def _outcomes(beyond: Beyond, pulse: Pulse) -> list[Outcome]:
    """The targets; T15 and the 1,000 of T12 are of the full form."""
    ramp = beyond.ramp
    worst, rate = _worst(ramp), ramp.stage.options.rate or LOAD_RATE
    delivery = max((step.delivery_p99 for step in ramp.steps if step.delivery_p99), default=None)
    found = [
        outcome_of(worst, "T1", ramp.paced.percentile(99), source=f"{ramp.paced.count} sessions, opened at half the connect rate"),
        outcome_of(worst, "T2", delivery, source=f"the worst step, {rate:.0f} messages/s"),
        outcome("T7", connected_percent(ramp.fleet, beyond.crew), source="sessions opened"),
        outcome("T9", pulse.uptime_percent, source=f"{pulse.asked} pings answered within 1 s"),
        _memory("T14", _at(ramp.steps, 100)),
    ]  # fmt: skip
    most = stairs(ramp.stage.options)[-1]
    key = "T12" if most >= TABLE["T12"].limit else "T12.few"
    found.append(outcome(key, held_of(ramp.steps), source="held at once, every message in time"))
    if key == "T12":
        found.append(_memory("T15", _at(ramp.steps, 1_000)))
    return found


def _memory(key: str, step: Step | None) -> Outcome:
    if step is None:
        return outcome(key, None, source="there were never so many connections")
    load = f"resident, {step.connections:,} connections under a light load"
    return outcome(key, step.rss_mb, source=load)


def _at(steps: Sequence[Step], least: int) -> Step | None:
    """The first step with so many connections."""
    return next((step for step in steps if step.connections >= least), None)


def _reached(steps: Sequence[Step]) -> Covered:
    return Covered(
        name="a message in mid-ramp reaches all",
        kind="always",
        checked=sum(step.due for step in steps),
        held=sum(step.reached for step in steps),
        witness="sent while half of the members were still connecting",
    )


def _seen(top: Traces, before: Traces, *, connections: int) -> Covered:
    """That nothing is left means something only if there was something: a row and a descriptor for everybody."""
    counted = [top.rows or 0, (top.descriptors or 0) - (before.descriptors or 0)]
    return Covered(
        name="every session leaves traces while it lasts",
        kind="always",
        checked=len(counted),
        held=sum(count >= connections for count in counted),
        witness=f"{counted[0]:,} rows and {counted[1]:,} descriptors for {connections:,} sessions",
    )


def _note_traces(findings: Findings, before: Traces, left: Traces, took: float) -> None:
    """Whether nothing is left of anybody."""
    found = left.beyond(before)
    findings.figures["clean_after_s"] = round(took, 1)
    if found:
        more = ", ".join(f"{count} {name}" for name, count in found.items())
        findings.broken.append(f"{took:.0f} s after everybody had left there were {more} too many")
    if left.unknown:
        findings.unknown.append(f"what is left was not looked at: {', '.join(left.unknown)}")


SCENARIO = Scenario(
    name="connections",
    group="stress",
    title="how many sessions, and what each costs",
    crowd=crowd,
    run=run,
    plan=plan,
    goals=frozenset({"lost", "lost ack", "reordered"}),
)
