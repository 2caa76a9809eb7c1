"""`perf e2e real-time`: how long everything takes until the others see it, at normal load (T2, T5, T6, T21).

100 devices on two servers, every user on both: messages, edits, deletions, typing, texts, receipts and badges by
one seeded plan. All latencies count from the intended moment; the whole distributions are in the report.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from perf.coverage import Covered
from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.fleet import Fleet, until
from perf.load.generator import Generator
from perf.load.plan import Mix, Phase, Plan, described, make
from perf.load.workload import OpenLoop
from perf.measure.latency import Latency
from perf.rig.accounts import Account
from perf.rig.environment import Crowd
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.parts.moments import Moments
from perf.scenarios.parts.shared import (
    conclude,
    connected_percent,
    conversations_of,
    note_generator,
    outcome_of,
    still,
)
from perf.targets import outcome

CONVERSATIONS, QUICK_CONVERSATIONS, MEMBERS, DEVICES_EACH = 10, 6, 5, 2
RATE, QUICK_RATE = 200.0, 80.0  # requests a second; the baseline's rate
SECONDS, QUICK_SECONDS = 60.0, 4.0
WARM_UP_S = 1.0  # of the plan, not counted
LATER_S = 30.0  # patience with the last receipts, as with all that is late (T11): that they come is no matter of time
MIX = Mix(send=0.76, edit=0.06, delete=0.02, read=0.06, type=0.04, status=0.02, reply=0.04)
GOALS = frozenset({"lost", "lost ack", "reordered", "lost receipt", "receipt regression", "deletion seen"})  # fmt: skip


@dataclass(kw_only=True)
class Everyday:
    """One run's parts."""

    stage: Stage
    near: Fleet
    far: Fleet
    devices: list[Device]
    moments: Moments
    generator: Generator = field(default_factory=Generator)
    skipped: int = 0


def crowd(options: Options) -> Crowd:
    """Conversations of five users with two devices each."""
    many = QUICK_CONVERSATIONS if options.quick else CONVERSATIONS
    wanted = (options.devices or many * MEMBERS * DEVICES_EACH) // (MEMBERS * DEVICES_EACH)
    return Crowd(conversations=max(wanted, 2), members=MEMBERS, devices=DEVICES_EACH)


def phases(options: Options) -> list[Phase]:
    """The warm-up, then a steady rate."""
    rate = options.rate or (QUICK_RATE if options.quick else RATE)
    seconds = options.duration_s or (QUICK_SECONDS if options.quick else SECONDS)
    return [Phase(seconds=WARM_UP_S, rate=rate), Phase(seconds=seconds, rate=rate)]


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints."""
    made = described(_plan(options), phases(options))
    return {**made, "servers": 2, "seconds": made["seconds"] + 8}


def _plan(options: Options) -> Plan:
    devices = crowd(options).accounts
    return make(seed=options.seed, phases=phases(options), devices=devices, mix=MIX)


async def run(stage: Stage) -> Findings:
    """Carry the plan out, wait for what is still to be shown, and tell."""
    async with _prepared(stage) as it:
        stage.progress.say(f"{phases(stage.options)[-1].rate:.0f} requests a second")
        loop = OpenLoop(
            it.devices,
            _plan(stage.options),
            it.generator,
            stage.series,
            noted=it.moments.noted,
        )
        with still():
            async with it.generator.watched():
                begun = clock()
                it.moments.count_from = begun + WARM_UP_S
                await loop.run(begun)
            it.skipped = loop.skipped
            await until(lambda: it.moments.complete, within_s=LATER_S)
        return await conclude(_findings(it), it.moments, it.near, it.far)


@asynccontextmanager
async def _prepared(stage: Stage) -> AsyncIterator[Everyday]:
    """Each user's first device on the first server, the second on the second; half of the conversations read at once."""
    place = stage.environment
    first, second = _apart(place.accounts)
    names = conversations_of(place.accounts)
    far_numbers: set[int] = set()
    moments = Moments(stage.series, far=far_numbers, reading=frozenset(names[::2]))
    async with place.another("second") as server:
        near = Fleet(url=place.url, recorder=stage.recorder, observer=moments)
        far = Fleet(url=server.url, recorder=stage.recorder, observer=moments)
        await near.connect(first, starts={})
        await far.connect(second, starts={})
        far_numbers.update(one.number for one in far.devices)
        members: dict[str, list[Device]] = {name: [] for name in names}
        for device in (*near.devices, *far.devices):
            members[device.account.conversations[0]].append(device)
        moments.expect(members)
        yield Everyday(
            stage=stage,
            near=near,
            far=far,
            devices=[*near.devices, *far.devices],
            moments=moments,
        )


def _apart(accounts: list[Account]) -> tuple[list[Account], list[Account]]:
    """Each user's first device, and the second ones."""
    first: dict[str, Account] = {}
    second = [one for one in accounts if first.setdefault(one.user, one) is not one]
    return list(first.values()), second


def _findings(it: Everyday) -> Findings:
    moments = it.moments
    kinds = _kinds(moments)
    findings = Findings(
        outcomes=[
            outcome_of(it.generator, "T2", moments.delivery.percentile(99), source=f"{moments.delivery.count} arrivals, {moments.across.count} of them on the other server"),
            outcome_of(it.generator, "T5", moments.receipt.percentile(99), source=f"{moments.receipt.count} messages that were read at once"),
            outcome_of(it.generator, "T6.live", moments.live.percentile(99), source=f"{moments.live.count} arrivals on the sender's other device"),
            outcome_of(it.generator, "T6.badge", moments.badges.latency.percentile(99), source=f"{moments.badges.shown} badges"),
            outcome_of(it.generator, "T21.shown", moments.texts.latency.percentile(99), source=f"{moments.texts.shown} sightings of a text"),
            outcome("T7", connected_percent(it.near, it.far), source="sessions opened"),
        ],
        latency=moments.delivery.summary(),
        spectra={**kinds, "messages, uncorrected": moments.uncorrected},
        steps=[_row(name, latency) for name, latency in kinds.items()],
        coverage=_coverage(moments),
    )  # fmt: skip
    findings.figures |= {
        "uncorrected_p99_ms": moments.uncorrected.percentile(99),
        "edits_not_made": it.skipped,
        "generator": it.generator.figures(),
    }
    note_generator(it.generator, findings)
    return findings


def _kinds(moments: Moments) -> dict[str, Latency]:
    return {
        "messages": moments.delivery,
        "messages, same server": moments.same,
        "messages, other server": moments.across,
        "messages, own other device": moments.live,
        "edits": moments.edits,
        "answers": moments.answer,
        "typing": moments.typing.latency,
        "presence texts": moments.texts.latency,
        "read receipts": moments.receipts.latency,
        "send to read receipt": moments.receipt,
        "badges": moments.badges.latency,
    }


def _row(name: str, latency: Latency) -> dict[str, Any]:
    summary = latency.summary()
    return {
        "what": name,
        "seen": summary.count,
        "p50_ms": summary.p50,
        "p90_ms": summary.p90,
        "p99_ms": summary.p99,
        "p999_ms": summary.p999,
        "max_ms": summary.max,
    }


def _coverage(moments: Moments) -> list[Covered]:
    """What has to be shown, and what may be dropped: typing always, a text if a newer one follows at once."""
    same, users = moments.agreed()
    receipts, badges, typing, texts = (
        moments.receipts,
        moments.badges,
        moments.typing,
        moments.texts,
    )
    shown = moments.shown_typing
    return [
        Covered(name="what was read is shown to the others", kind="always", checked=receipts.due, held=receipts.shown),
        Covered(name="what was read is shown on the user's other device", kind="always", checked=badges.due, held=badges.shown),
        Covered(name="everyone is shown the same text in the end", kind="always", checked=users, held=same),
        Covered(name="typing is shown to the others only", kind="always", checked=shown, held=shown - moments.misplaced),
        Covered(name="typing is shown", kind="sometimes", checked=typing.due, held=typing.shown),
        Covered(name="a text is shown", kind="sometimes", checked=texts.due, held=texts.shown),
    ]  # fmt: skip


SCENARIO = Scenario(
    name="real-time",
    group="e2e",
    title="how long everything takes until the others see it, on two servers",
    crowd=crowd,
    plan=plan,
    run=run,
    goals=GOALS,
)
