"""`perf e2e concurrent-operations`: everybody does everything at once (G2, G3, G5, G8, G9; T2, T8, T10).

On two servers, each in a conversation of its own: devices change the same messages, of which one may win each
version; a member is sent away and brought back while the others send; a foreign transaction holds a
conversation; one key is used on four connections; transactions of many rows are committed or rolled back.
In a last one people only talk: what they notice of it all is timed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.fleet import Fleet, until
from perf.load.generator import Generator
from perf.load.plan import Phase, make
from perf.load.workload import OpenLoop
from perf.measure.latency import Latency
from perf.rig.accounts import Account
from perf.rig.database import Connection, connected
from perf.rig.environment import Crowd
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.parts.checks import Checks
from perf.scenarios.parts.comers import Comers
from perf.scenarios.parts.company import Holder
from perf.scenarios.parts.keys import Keys, keys
from perf.scenarios.parts.rivals import LAST_WORD, ROW, Answers, Rivals
from perf.scenarios.parts.shared import (
    conclude,
    connected_percent,
    conversations_of,
    note_generator,
    outcome_of,
)
from perf.scenarios.parts.transactions import Transactions
from perf.targets import outcome

CONVERSATIONS, MEMBERS, DEVICES_EACH = 6, 3, 4
MESSAGES, QUICK_MESSAGES = 10, 5  # that are fought over
SECONDS, QUICK_SECONDS = 60.0, 4.0
HELD_S, QUICK_HELD_S = 8.0, 1.5  # so long the foreign transaction holds its conversation
RATE, QUICK_RATE = 60.0, 30.0  # messages a second in the conversations where people only talk
ANSWERED_S = 30.0
TALKING = (
    "beside a member who comes and goes",
    "while a transaction holds the conversation",
    "beside a program's transactions",
    "where people only talk",
)
EXPECTED = frozenset({"conflict", "no_such_conversation", "busy", "after_refused"})
COUNT = "SELECT count(*) FROM messaging_message WHERE client_id LIKE %s"
GOALS = frozenset({"lost", "lost ack", "gap", "aborted read", "leaving", "concurrent requests"})


@dataclass(kw_only=True)
class Crowded:
    """One run's parts. `rooms` are the conversations: of rivals, comers, a holder, keys, transactions, bystanders."""

    stage: Stage
    near: Fleet
    far: Fleet
    rooms: list[list[Device]]
    answers: Answers
    connections: list[Connection]
    keys: Keys
    checks: Checks
    generator: Generator = field(default_factory=Generator)
    talks: dict[str, Latency] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


def crowd(options: Options) -> Crowd:
    """Six conversations of three users with four devices each."""
    return Crowd(conversations=CONVERSATIONS, members=MEMBERS, devices=DEVICES_EACH)


def seconds_of(options: Options) -> float:
    """How long everybody does everything."""
    return options.duration_s or (QUICK_SECONDS if options.quick else SECONDS)


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints."""
    return {
        "rivals": f"{DEVICES_EACH} devices change {QUICK_MESSAGES if options.quick else MESSAGES} messages",
        "held_s": QUICK_HELD_S if options.quick else HELD_S,
        "rate": QUICK_RATE if options.quick else RATE,
        "seconds": round(8 + seconds_of(options)),
    }


async def run(stage: Stage) -> Findings:
    """Do everything at once, then count."""
    async with _prepared(stage) as it:
        stage.progress.say("everybody does everything at once")
        async with it.generator.watched():
            await _everything(it)
        stage.progress.say("counting")
        await _count(it)
        return await conclude(_findings(it), it.answers, it.near, it.far)


@asynccontextmanager
async def _prepared(stage: Stage) -> AsyncIterator[Crowded]:
    place, answers, checks = stage.environment, Answers(expected=EXPECTED), Checks()
    names = conversations_of(place.accounts)
    groups = [[one for one in place.accounts if one.conversations[0] == name] for name in names]
    reserved = groups[3].pop()  # its device is on four connections of its own
    async with AsyncExitStack() as stack:
        second = await stack.enter_async_context(place.another("second"))
        assert place.database_url is not None
        connections = [
            await stack.enter_async_context(connected(place.database_url)) for _ in range(3)
        ]
        near = Fleet(url=place.url, recorder=stage.recorder, observer=answers)
        far = Fleet(url=second.url, recorder=stage.recorder, observer=answers)
        rooms = await _connected(near, far, groups)
        yield Crowded(
            stage=stage,
            near=near,
            far=far,
            rooms=rooms,
            answers=answers,
            connections=connections,
            keys=await stack.enter_async_context(
                keys((place.url, second.url), reserved, connections[0], checks)
            ),
            checks=checks,
        )


async def _connected(near: Fleet, far: Fleet, groups: list[list[Account]]) -> list[list[Device]]:
    """Every second device on either server; returns those of each conversation."""
    await near.connect([one for group in groups for one in group[0::2]], starts={})
    await far.connect([one for group in groups for one in group[1::2]], starts={})
    everyone = {**near.members()}
    for name, devices in far.members().items():
        everyone.setdefault(name, []).extend(devices)
    return [everyone[group[0].conversations[0]] for group in groups]


async def _everything(it: Crowded) -> None:
    """All parts side by side, for the same time."""
    options = it.stage.options
    fought, visited, held, _, written, calm = it.rooms
    begun = clock()
    over = begun + seconds_of(options)
    rivals = Rivals(devices=_of_one(fought), answers=it.answers, checks=it.checks)
    comers = Comers(devices=_of_one(visited), connection=it.connections[1], checks=it.checks)
    foreign = Transactions(
        devices=written,
        conversation=written[0].account.conversations[0],
        connection=it.connections[2],
        answers=it.answers,
        checks=it.checks,
    )
    for name, room in zip(TALKING, (visited, held, written, calm), strict=True):
        it.talks[name] = it.answers.timed[room[0].account.conversations[0]] = Latency()
    messages = QUICK_MESSAGES if options.quick else MESSAGES
    async with asyncio.TaskGroup() as group:
        fight = group.create_task(rivals.run(messages=messages, until_s=over))
        group.create_task(comers.run(until_s=over))
        group.create_task(it.keys.run(until_s=over))
        group.create_task(foreign.run(until_s=over))
        group.create_task(_hold(it, held[0].account.conversations[0]))
        group.create_task(_talk(it, [*visited, *held, *written, *calm], begun))
    await _last_words(it, fight.result())
    it.figures |= {
        "versions_won": rivals.versions,
        "round_of_rivals_p99_ms": rivals.decided.percentile(99),
        "stays": comers.stays,
        "requests_under_a_shared_key": it.keys.asked,
        "transactions": {"committed": len(foreign.committed), "undone": len(foreign.undone)},
    }


def _of_one(devices: list[Device]) -> list[Device]:
    """The devices of the first user among these."""
    return [one for one in devices if one.account.user == devices[0].account.user]


async def _talk(it: Crowded, devices: list[Device], begun: float) -> None:
    """All of these send, at random moments that are kept whatever the servers do."""
    options = it.stage.options
    phases = [Phase(seconds=seconds_of(options), rate=QUICK_RATE if options.quick else RATE)]
    made = make(seed=options.seed, phases=phases, devices=len(devices))
    await OpenLoop(devices, made, it.generator, it.stage.series).run(begun)


async def _hold(it: Crowded, conversation: str) -> None:
    """A foreign transaction holds a conversation: what is sent there waits, and comes in order."""
    url, quick = it.stage.environment.database_url, it.stage.options.quick
    assert url is not None
    holder = Holder(url=url, conversation=conversation, seconds=QUICK_HELD_S if quick else HELD_S)
    await holder.run(asyncio.Event())
    it.figures["held_s"] = holder.held_s


async def _last_words(it: Crowded, contested: list[Any]) -> None:
    """What is stored of the messages that were fought over is what their last winners left."""
    won = {(one.of, one.version): one for one in it.answers.taken.values() if one.of}
    for known in contested:
        row = await (await it.connections[0].execute(ROW, [known.message])).fetchone()
        last = won.get((known.message, known.version))
        deleted = last is not None and last.what == "delete"
        held = row is not None and (row[0], row[2]) == (known.version, deleted)
        it.checks.note(LAST_WORD, held=held, witness=f"{known.message}: {row}, {known.version}")


async def _count(it: Crowded) -> None:
    """As many rows as messages that were acknowledged, not one more or less."""
    answered = await until(lambda: not it.near.pending + it.far.pending, within_s=ANSWERED_S)
    it.checks.note("every request is answered in the end", held=answered)
    sends = sum(one.what == "send" for one in it.answers.taken.values())
    prefix = f"{it.stage.recorder.run}.%"
    row = await (await it.connections[0].execute(COUNT, [prefix])).fetchone()
    stored = int(row[0]) if row else 0
    witness = f"{stored} rows, {sends} acknowledged"
    it.checks.note("as many messages are stored as were acknowledged", held=stored == sends, witness=witness)  # fmt: skip
    it.figures |= {"stored": stored, "acknowledged": sends, "refused": dict(it.answers.codes)}


def _findings(it: Crowded) -> Findings:
    live = it.talks[TALKING[-1]]
    findings = Findings(
        outcomes=[
            outcome_of(it.generator, "T2", live.percentile(99), source=f"{live.count} arrivals where people only talk"),
            outcome("T7", connected_percent(it.near, it.far), source="sessions opened"),
        ],
        latency=live.summary(),
        spectra=dict(it.talks),
        steps=[_row(name, latency) for name, latency in it.talks.items()],
        coverage=it.checks.covered(),
    )  # fmt: skip
    findings.figures |= {**it.figures, "generator": it.generator.figures()}
    note_generator(it.generator, findings)
    return findings


def _row(name: str, latency: Latency) -> dict[str, Any]:
    return {
        "messages": name,
        "shown": latency.count,
        "p50_ms": latency.percentile(50),
        "p99_ms": latency.percentile(99),
        "max_ms": latency.summary().max,
    }


SCENARIO = Scenario(
    name="concurrent-operations",
    group="e2e",
    title="everybody does everything at once: conflicts, fences, keys, locks, transactions",
    crowd=crowd,
    plan=plan,
    run=run,
    goals=GOALS,
)
