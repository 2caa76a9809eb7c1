"""`perf stress messages`: how many messages a second, at most and in time.

100 conversations of 10 devices. First the capacity: a closed loop with authentication, idempotency
and receipts from every device. Then stairs of open loops: the highest rate whose 99th percentile stays
below its limit, found by bisection and passed three times more.
"""

from __future__ import annotations

from typing import Any

import msgspec

from perf.load.fleet import Fleet
from perf.load.observer import Observer
from perf.measure import metrics
from perf.rig.environment import Crowd
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.parts.capacity import WARM_UP_S, Capacity, saturate, watched
from perf.scenarios.parts.shared import (
    agreement,
    connect,
    connected_percent,
    note_generator,
    note_troubles,
    outcome_of,
    settle,
    still,
    usage_of,
)
from perf.scenarios.parts.stairs import FIRST, Stairs
from perf.targets import outcome

DEVICES, QUICK_DEVICES = 1_000, 200
DURATION_S, QUICK_S = 10.0, 1.5
QUICK_WARM_UP_S = 0.5
STEP_S, QUICK_STEP_S = 4.0, 1.0
STEPS = 12  # a usual search; only the plan's cost depends on it
IN_FLIGHT = 1_000  # unanswered sends of all devices together: they keep the journal's batches full


def crowd(options: Options) -> Crowd:
    """Conversations of 10 devices."""
    devices = options.devices or (QUICK_DEVICES if options.quick else DEVICES)
    return Crowd(conversations=max(1, devices // 10), members=10)


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints."""
    step_s = QUICK_STEP_S if options.quick else STEP_S
    steps = 1 if options.quick or options.rate else STEPS
    return {
        "capacity": {"seconds": _seconds(options), "outstanding": outstanding(options)},
        "stairs": {
            "steps": f"about {steps}",
            "seconds_each": step_s,
            "first": options.rate or f"{FIRST:.0%} of the capacity",
        },
        "seconds": _warm_up_s(options) + _seconds(options) + steps * (step_s + 2),
    }


def outstanding(options: Options) -> int:
    """Unanswered sends of each device in the closed loop."""
    devices = crowd(options).conversations * 10
    return options.outstanding or max(1, IN_FLIGHT // devices)


def _warm_up_s(options: Options) -> float:
    return QUICK_WARM_UP_S if options.quick else WARM_UP_S


def _seconds(options: Options) -> float:
    return options.duration_s or (QUICK_S if options.quick else DURATION_S)


async def run(stage: Stage) -> Findings:
    """Saturate the server, then climb the stairs."""
    environment, options, say = stage.environment, stage.options, stage.progress.say
    fleet = Fleet(url=environment.url, recorder=stage.recorder, observer=Observer())
    await connect(stage, fleet, environment.accounts)
    async with watched(environment) as beside:
        say(f"closed loop: {outstanding(options)} unanswered messages per device")
        with still():
            capacity = await saturate(
                stage,
                fleet,
                beside.groups,
                outstanding=outstanding(options),
                seconds=_seconds(options),
                warm_up_s=_warm_up_s(options),
            )
        findings = _findings(fleet, capacity)
        if beside.statements is not None:
            findings.figures["database_statements"] = await beside.statements.top(4)
        step_s = QUICK_STEP_S if options.quick else STEP_S
        stairs = Stairs(stage=stage, fleet=fleet, groups=beside.groups, step_s=step_s)
        if options.quick:
            stairs.warm_up_s = QUICK_WARM_UP_S
        await fleet.quiesce(within_s=30)
        await _climb(stairs, capacity, options, findings)
    findings.figures["outstanding_per_device"] = outstanding(options)
    await settle(fleet, findings)
    findings.concluding = agreement
    note_troubles(fleet, findings, capacity.load, *stairs.flows)
    return findings


async def _climb(stairs: Stairs, capacity: Capacity, options: Options, findings: Findings) -> None:
    """Search for the knee, or look at one rate only."""
    first = options.rate or FIRST * capacity.messages_per_s
    if options.quick or options.rate:
        step = await stairs.climb(first)
        findings.figures["held_messages_per_s"] = step.asked if step.passed else None
        if options.rate and not step.passed:
            known = step.p99 is not None and not step.late
            found = findings.broken if known else findings.unknown
            found.append(f"{step.asked:,.0f} messages a second were not held: {step.failed_by}")
    else:
        knee = await stairs.search(first=first)
        findings.figures["sustained_messages_per_s"] = knee and round(knee)
        if knee is None:
            findings.unknown.append("no rate was held three times in a row")
    findings.steps = [{**msgspec.to_builtins(step), "passed": step.passed} for step in stairs.steps]
    findings.spectra |= {
        "delivery at rates that were held": stairs.corrected,
        "the same, uncorrected": stairs.uncorrected,
    }
    limited = [step for step in stairs.steps if step.late]
    if limited:
        findings.figures["banner"] = (
            f"the generator was late in {len(limited)} steps: the server may sustain more"
        )


def _findings(fleet: Fleet, capacity: Capacity) -> Findings:
    load, generator, resources = capacity.load, capacity.generator, capacity.resources
    answers = capacity.answers
    found = Findings(
        outcomes=[
            outcome_of(generator, "T13.durable", capacity.messages_per_s or None, source="acknowledged after the commit, closed loop"),
            outcome_of(generator, "T13.delivered", capacity.deliveries_per_s or None, source="messages applied by the devices"),
            _statement_time(capacity),
            outcome("T15", usage_of(resources, "server", "rss_mb"), source="resident memory of the server's processes"),
            outcome("T7", connected_percent(fleet), source="sessions opened"),
        ],
        latency=answers.summary(),
        figures={
            "durable_messages_per_s": round(capacity.messages_per_s),
            "deliveries_per_s": round(capacity.deliveries_per_s),
            "frames_per_s": round(load.frames / capacity.seconds),
            "messages_per_frame": round(load.deliveries / max(load.frames, 1), 1),
            "devices": len(fleet.devices),
            "generator": generator.figures(),
            "generator_cpu_percent": generator.cpu_percent,
            "other_processes_cpu_percent": resources.others_percent,
            "refusals": load.refusals,
        },
        resources=dict(resources.usage),
    )  # fmt: skip
    found.spectra["answer, saturated"] = answers
    note_generator(generator, found)
    return found


def _statement_time(capacity: Capacity) -> Any:
    served = metrics.percentile_ms(metrics.merged(capacity.served), 99)
    return outcome("T4", served, source="the server's own /metrics, saturated")


SCENARIO = Scenario(
    name="messages",
    group="stress",
    title="messages a second, at most and in time",
    crowd=crowd,
    run=run,
    plan=plan,
    full=False,
)
