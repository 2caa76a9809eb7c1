"""`perf stress api`: the REST API under an open loop at stairs, at its door, asked everything twice, and fuzzed.

20 conversations of five: three members use only REST, two listen on sockets, so that the judge sees what
became of every send. A repeat of a `client_id` must give the first result and store nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from perf.coverage import Covered
from perf.load.alongside import alongside
from perf.load.fleet import Fleet
from perf.load.generator import Generator
from perf.load.observer import Troubles
from perf.load.probe import Pulse, Resources
from perf.load.rest import Rest
from perf.measure import metrics
from perf.measure.latency import Latency
from perf.rig.database import connected
from perf.rig.environment import Crowd, Environment
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.parts import entrance, fuzzing, guests
from perf.scenarios.parts.calls import WEIGHTS, Calls, Repeat
from perf.scenarios.parts.capacity import Watched, watched
from perf.scenarios.parts.entrance import Entrance
from perf.scenarios.parts.guests import Guests
from perf.scenarios.parts.shared import (
    agreement,
    apart,
    connected_percent,
    note_generator,
    note_troubles,
    settle,
    starts_of,
    still,
    usage_of,
)
from perf.targets import outcome

MEMBERS, LISTENING = 5, 2  # of each conversation
DEVICES, QUICK_DEVICES = 100, 20
FIRST, CLIMB, MOST = 20.0, 1.6, 12  # requests/s of the first stair, the next ones, how many at most
STEP_S, QUICK_STEP_S, QUICK_RATES = 4.0, 1.0, (40.0,)
WARM_UP_S, QUICK_WARM_UP_S = 1.5, 0.8
GIVE_UP = 2  # steps in a row that are not held: a pause of the machine is no limit
LIMIT_MS = 200.0  # p99 of a step that counts as held: what T4 gives the database alone under load
ENOUGH = 0.98  # of what was asked must be answered by the end of the step
UNDER_WAY = 2  # requests that may be on their way at that moment, however short the step
DOOR_S, QUICK_DOOR_S = 8.0, 0.3
REPEATED = """
SELECT client_id, count(*), min(id::text), min(position) FROM messaging_message
 WHERE client_id = ANY (%s) GROUP BY client_id
"""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One rate of requests: asked and achieved per second, ms, % of a core."""

    asked: float
    achieved: float
    p50: float | None
    p99: float | None
    errors: int
    refused: int
    server_cpu: float | None
    postgres_cpu: float | None
    late_p99: float | None
    failed_by: str = ""


@dataclass(kw_only=True)
class Api:
    """One run's parts."""

    stage: Stage
    calls: Calls
    fleet: Fleet
    troubles: Troubles
    pulse: Pulse
    beside: Watched
    steps: list[Step] = field(default_factory=list)
    generators: list[Generator] = field(default_factory=list)
    whole: Latency = field(default_factory=Latency)
    served: metrics.Buckets = field(default_factory=dict)


def crowd(options: Options) -> Crowd:
    """Conversations of five."""
    devices = options.devices or (QUICK_DEVICES if options.quick else DEVICES)
    return Crowd(conversations=max(1, devices // MEMBERS), members=MEMBERS)


def rates(options: Options) -> list[float]:
    """The stairs: the full form climbs until a step is not held."""
    if options.rate:
        return [options.rate]
    if options.quick:
        return list(QUICK_RATES)
    return [round(FIRST * CLIMB**step, 1) for step in range(MOST)]


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints."""
    step_s, quick = _step_s(options), options.quick
    return {
        "stairs": {
            "rates": rates(options),
            "seconds_each": step_s,
            "until": "two in a row are not held",
        },
        "mix": dict(WEIGHTS),
        "door": {
            "seconds": QUICK_DOOR_S if quick else DOOR_S,
            "at_once": entrance.QUICK_AT_ONCE if quick else entrance.AT_ONCE,
        },
        "fuzz": fuzzing.plan(quick=quick),
        "seconds": round(
            min(len(rates(options)), 7) * (step_s + 1)
            + (QUICK_DOOR_S if quick else DOOR_S)
            + fuzzing.seconds(quick=quick)
            + 10
        ),
    }


def _step_s(options: Options) -> float:
    return options.duration_s or (QUICK_STEP_S if options.quick else STEP_S)


async def run(stage: Stage) -> Findings:
    """Climb the stairs, knock at the door, ask for nonsense."""
    rest = Rest(stage.environment.url)
    try:
        async with watched(stage.environment) as beside:
            it, invited = await asyncio.gather(
                _prepared(stage, rest, beside), guests.invite(stage.environment)
            )
            await _climb(it)
            findings = _findings(it)
            if beside.statements is not None:
                findings.figures["database_statements"] = await beside.statements.top(8)
            findings.coverage += await _repeats(it, stage.environment)
        await _door(stage, rest, findings, invited)
        await fuzzing.judge(stage, findings, rest, invited)
        await settle(it.fleet, findings)  # the fuzzer adds who listens to its conversations
    finally:
        await rest.close()
    findings.concluding = agreement
    note_troubles(it.fleet, findings, it.troubles)
    return findings


async def _prepared(stage: Stage, rest: Rest, beside: Watched) -> Api:
    place, troubles = stage.environment, Troubles()
    listening, calling = apart(place.accounts, first=LISTENING)
    calls = Calls(rest=rest, recorder=stage.recorder, meter=stage.series, seed=stage.options.seed)
    calls.enlist(calling)
    fleet = Fleet(url=place.url, recorder=stage.recorder, observer=troubles)
    stage.progress.say(f"{len(calling)} devices that call, {len(listening)} that listen")
    await fleet.connect(listening, starts=await starts_of(place))
    await _warm_up(stage, calls)
    return Api(
        stage=stage,
        calls=calls,
        fleet=fleet,
        troubles=troubles,
        pulse=Pulse(fleet.devices),
        beside=beside,
    )


async def _climb(it: Api) -> None:
    """Take the stairs until two in a row are not held."""
    url = it.stage.environment.url
    before = await metrics.statement_buckets(url)
    async with alongside(it.pulse.run()):
        with still():
            for rate in rates(it.stage.options):
                it.steps.append(await _step(it, rate))
                if all(step.failed_by for step in it.steps[-GIVE_UP:]) and it.steps[GIVE_UP - 1 :]:
                    break
    it.pulse.settle(lambda asked: False)
    it.served = metrics.since(before, await metrics.statement_buckets(url))


async def _warm_up(stage: Stage, calls: Calls) -> None:
    """Have every endpoint be asked before anything counts: the first requests load what the others use."""
    uncounted = Generator(stage.series)
    seconds = QUICK_WARM_UP_S if stage.options.quick else WARM_UP_S
    await calls.run(rate=FIRST, seconds=seconds, generator=uncounted, whole=Latency())
    calls.latencies.clear()


async def _step(it: Api, rate: float) -> Step:
    generator, whole = Generator(it.stage.series), Latency()
    resources, calls, seconds = Resources(it.beside.groups), it.calls, _step_s(it.stage.options)
    errors, refused = len(calls.errors), _refused(calls)
    it.stage.series.mark(f"{rate:,.0f} requests/s")
    async with generator.watched(), resources.measured():
        asked, in_time = await calls.run(
            rate=rate, seconds=seconds, generator=generator, whole=whole
        )
    it.generators.append(generator)
    step = Step(
        asked=rate,
        achieved=round(in_time / seconds, 1),
        p50=whole.percentile(50),
        p99=whole.percentile(99),
        errors=len(calls.errors) - errors,
        refused=_refused(calls) - refused,
        server_cpu=usage_of(resources, "server", "cpu_percent"),
        postgres_cpu=usage_of(resources, "postgres", "cpu_percent"),
        late_p99=generator.lateness.percentile(99),
    )
    share = in_time / asked if asked - in_time > UNDER_WAY else 1.0
    step = msgspec.structs.replace(step, failed_by=why_failed(step, share=share))
    it.whole.merge(whole)
    it.stage.progress.say(
        f"{rate:,.0f} requests/s: p50 {step.p50 or 0:.1f}, p99 {step.p99 or 0:.1f} ms, "
        f"{step.failed_by or 'held'}"
    )
    return step


def _refused(calls: Calls) -> int:
    """Requests that may be repeated: the server said that it is overloaded."""
    return sum(n for name, n in calls.statuses.items() if name.endswith((" 429", " 503")))


def why_failed(step: Step, *, share: float) -> str:
    """Why a step does not count as held; empty if it does. `share` of the requests was answered in time."""
    if step.errors:
        return f"{step.errors} server errors"
    if step.refused:
        return f"{step.refused} requests were refused for the moment"
    if step.p99 is None:
        return "nothing was measured"
    if step.p99 >= LIMIT_MS:
        return f"p99 not below {LIMIT_MS:.0f} ms"
    if share < ENOUGH:
        return f"only {100 * share:.0f} % was answered in time"
    return ""


def _findings(it: Api) -> Findings:
    calls = it.calls
    held = max((step.asked for step in it.steps if not step.failed_by), default=None)
    found = Findings(
        outcomes=[
            outcome("T4", metrics.percentile_ms(metrics.merged(it.served), 99), source="the server's own /metrics, over all stairs"),
            outcome("T7", connected_percent(it.fleet), source="sessions of the listening devices"),
            outcome("T9", it.pulse.uptime_percent, source=f"{it.pulse.asked} pings answered within 1 s"),
        ],
        latency=it.whole.summary(),
        figures={
            "held_requests_per_s": held,
            "requests": calls.answered,
            "endpoints_ms": _by_endpoint(calls),
            "answers": dict(sorted(calls.statuses.items())),
            "connections_opened": calls.rest.opened,
        },
        steps=[msgspec.to_builtins(step) for step in it.steps],
        spectra={f"REST {name}": one for name, one in sorted(calls.latencies.items())},
    )  # fmt: skip
    found.coverage += [
        _always("no answer is an error of the server", calls.answered, calls.errors),
        _always("an answer is what it must be", calls.answered, calls.wrong),
        _always("a page goes back in order", calls.pages, [one for one in calls.wrong if "the page" in one]),
    ]  # fmt: skip
    if held is None:
        found.unknown.append(f"no rate was held: {it.steps[0].failed_by}")
    note_generator(max(it.generators, key=lambda one: one.lateness.percentile(99) or 0), found)
    return found


def _by_endpoint(calls: Calls) -> dict[str, dict[str, float | int | None]]:
    return {
        name: {
            "count": latency.count,
            "p50": latency.percentile(50),
            "p99": latency.percentile(99),
        }
        for name, latency in sorted(calls.latencies.items())
    }


def _always(name: str, checked: int, failed: Sequence[str]) -> Covered:
    return Covered(
        name=name,
        kind="always",
        checked=max(checked, len(failed)),
        held=max(checked, len(failed)) - len(failed),
        witness=failed[0] if failed else "",
    )


async def _repeats(it: Api, place: Environment) -> list[Covered]:
    """Whether repeats got the first result, by the answers and by what is stored. Raises psycopg.Error."""
    repeats = it.calls.repeats
    found = [_always("a repeat gives the first result", len(repeats), differing(repeats))]
    if place.database_url is None:
        return found
    async with connected(place.database_url) as connection:
        cursor = await connection.execute(REPEATED, [[one.client_id for one in repeats]])
        stored = {row[0]: tuple(row[1:]) for row in await cursor.fetchall()}
    wrong = misplaced(repeats, stored)
    return [*found, _always("a repeat is stored once, where it was said", len(repeats), wrong)]


def differing(repeats: Sequence[Repeat]) -> list[str]:
    """The repeats whose two answers are not the same result, made once and found once."""
    return [
        f"{one.client_id}: {one.first} and then {one.second}, {one.statuses}"
        for one in repeats
        if one.first != one.second or sorted(one.statuses) != [200, 201]
    ]


def misplaced(repeats: Sequence[Repeat], stored: Mapping[str, tuple[object, ...]]) -> list[str]:
    """The repeats that are not stored exactly once (count, id, position), where the answer said."""
    return [
        f"{one.client_id}: stored {stored.get(one.client_id)}, answered {one.first}"
        for one in repeats
        if stored.get(one.client_id) != (1, one.first["message"], one.first["position"])
    ]


async def _door(stage: Stage, rest: Rest, findings: Findings, invited: Guests | None) -> None:
    """Logins and registrations."""
    if invited is None:
        findings.unknown.append("logins: only a private environment gets users with passwords")
        return
    stage.progress.say("logging in and registering")
    stage.series.mark("logins")
    quick = stage.options.quick
    seconds = QUICK_DOOR_S if quick else DOOR_S
    door: Entrance = await entrance.measure(
        stage.environment, rest, invited, seconds=seconds, quick=quick
    )
    findings.figures["door"] = door.figures()
    findings.coverage += door.coverage()
    findings.broken += door.errors
    findings.spectra |= {"login": door.login, "registration": door.register}


SCENARIO = Scenario(
    name="api",
    group="stress",
    title="the REST API at stairs, at its door, and fuzzed",
    crowd=crowd,
    run=run,
    plan=plan,
    goals=frozenset({"lost", "lost ack", "stale read", "concurrent requests"}),
)
