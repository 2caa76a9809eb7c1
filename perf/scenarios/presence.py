"""`perf e2e presence`: who is shown as here, how fast, and what is left when a server is killed (G7, T21).

Two servers of one database; each user has a device on either. Whatever happens to a user must be shown
to all devices of the others, and what is nobody's business to none. Meanwhile a third server, which
signs nobody off, has to be convicted of its ghosts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from perf.checkers.presence import BOUND_NS
from perf.coverage import Covered
from perf.history.events import Fault
from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.fleet import Fleet, until
from perf.measure.latency import Latency
from perf.rig.accounts import Account
from perf.rig.environment import Crowd
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.parts import ghosts
from perf.scenarios.parts.onlookers import QUIET_S, SEEN_S, Onlookers
from perf.scenarios.parts.shared import (
    connected_percent,
    note_generator,
    note_troubles,
    outcome_of,
)
from perf.scenarios.parts.sightings import Sightings, Wanted, sees
from perf.targets import outcome

MEMBERS, DEVICES_EACH = 10, 2
CONVERSATIONS, QUICK_CONVERSATIONS = 4, 1  # of people who come and go
STORM, QUICK_STORM = 2_000, 100  # devices that come at once
STORM_AT_ONCE = 100  # connecting at a time
OFFLINE_AFTER_S = 2.0  # the product's default: so long a flapping connection is waited for
KILLED_S = 15.0  # patience with what may take 10 s (G7)
# Who was killed comes back later than a view may be wrong, or no ghost could be told from a late view.
GONE_S = BOUND_NS / 1e9 + 1.0
FLAPS, FLAP_S = 5, 0.4
GOALS = frozenset({"ghost online", "ghost offline", "fault felt", "lost"})


def conversations_of(options: Options) -> int:
    """Conversations of people who come and go."""
    return QUICK_CONVERSATIONS if options.quick else CONVERSATIONS


def storm_of(options: Options) -> int:
    """Devices that come at once."""
    return options.devices or (QUICK_STORM if options.quick else STORM)


def crowd(options: Options) -> Crowd:
    """Conversations of ten users with two devices each: of those who come and go, the storm's, and one for ghosts."""
    storm = -(-storm_of(options) // (MEMBERS * DEVICES_EACH))
    return Crowd(
        conversations=conversations_of(options) + storm + 1, members=MEMBERS, devices=DEVICES_EACH
    )


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints."""
    return {
        "people": conversations_of(options) * MEMBERS,
        "storm": storm_of(options),
        "killed": "the second of two servers",
        "seconds": 25 if options.quick else 75 + storm_of(options) // 100,
    }


async def run(stage: Stage) -> Findings:
    """Come, go away, come back, flap, storm, kill, restart, with everyone watching."""
    async with _prepared(stage) as it, it.generator.watched():
        haunting = asyncio.create_task(_haunt(it))
        try:
            await _states(it)
            await _comings(it)
            await _flapping(it)
            await _storm(it)
            await _killed(it)
            convicted = await haunting
        finally:
            haunting.cancel()
    return _findings(it, convicted)


@asynccontextmanager
async def _prepared(stage: Stage) -> AsyncIterator[Onlookers]:
    place, recorder, sightings = stage.environment, stage.recorder, Sightings()
    people, storm, _ = _split(place.accounts, stage.options)
    async with place.another("second") as second:
        it = Onlookers(
            stage=stage,
            far_server=second,
            near=Fleet(url=place.url, recorder=recorder, observer=sightings),
            far=Fleet(url=second.url, recorder=recorder, observer=sightings),
            crowd=Fleet(url=place.url, recorder=recorder, observer=sightings),
            sightings=sightings,
            storm=storm,
        )
        stage.progress.say(f"connecting {len(people)} devices to two servers")
        await it.near.connect(people[0::2], starts={})
        await it.far.connect(people[1::2], starts={})
        everyone = [device.account.user for device in it.near.devices]

        def level() -> bool:
            return all(
                sees(watcher, user) == "online"
                for user in everyone
                for watcher in it.watchers(user)
            )

        if not await until(level, within_s=SEEN_S):
            it.broken.append("not everyone was shown as online to begin with")
        yield it
        for fleet in (it.near, it.far, it.crowd):
            fleet.disconnect()


def _split(
    accounts: Sequence[Account], options: Options
) -> tuple[list[Account], list[Account], list[Account]]:
    """Who comes and goes, two devices of a user in a row; the storm; and those who meet a ghost."""
    rooms: dict[str, dict[str, list[Account]]] = {}
    for account in accounts:
        users = rooms.setdefault(account.conversations[0], {})
        users.setdefault(account.user, []).append(account)
    groups = [[one for devices in users.values() for one in devices] for users in rooms.values()]
    few = conversations_of(options)
    people = [account for group in groups[:few] for account in group]
    storm = [account for group in groups[few:-1] for account in group]
    return people, storm[: storm_of(options)], groups[-1]


# What happens to people


def _is(state: str) -> Wanted:
    return lambda entry: entry.state == state


def _says(text: str) -> Wanted:
    return lambda entry: entry.text == text


async def _states(it: Onlookers) -> None:
    """Away and online, with one device and with two; a text; invisible."""
    it.stage.progress.say("away, online, texts")
    for n, (near, far) in enumerate(it.pairs):
        user = near.account.user
        await it.unseen("one of two devices away", user, _does(near, "away"), quiet_s=0.1)
        await it.seen("away", user, _is("away"), cause=_does(far, "away"))
        await it.seen("online again", user, _is("online"), cause=_does(near, "online"))
        await it.seen("text", user, _says(f"at {n}"), cause=_does(near, text=f"at {n}"))
        await it.seen("invisible", user, _is("offline"), cause=_does(near, invisible=True))
        await it.seen("visible", user, _is("online"), cause=_does(near, invisible=False))
        far.be("online")
        for device in (near, far):  # presence is of people who talk
            device.send(device.account.conversations[0], f"I am at {n}")
            device.flush()


def _does(device: Device, state: Any = None, **wish: Any) -> Any:
    async def cause() -> float:
        return device.be(state, **wish)

    return cause


async def _comings(it: Onlookers) -> None:
    """Both devices go: offline, after the wait; one comes back: online at once."""
    it.stage.progress.say("offline, and back")
    going = it.pairs[:: MEMBERS // 2]
    for pair in going:
        for device in pair:
            device.leave()
    gone = clock()  # who went, too, sees nobody: the watchers are those who stay
    await asyncio.gather(*(_comes_back(it, near, far, gone) for near, far in going))


async def _comes_back(it: Onlookers, near: Device, far: Device, gone: float) -> None:
    user = near.account.user
    expected = it.sightings.expect(user, it.watchers(user), _is("offline"))
    await it.timed(expected, gone + OFFLINE_AFTER_S, it.offline, "offline")

    async def comes() -> float:
        await far.connect()
        return far.greeted

    await it.seen("online", user, _is("online"), cause=comes)
    await near.connect()


async def _flapping(it: Onlookers) -> None:
    """A connection that goes and comes back at once is nobody's business."""
    it.stage.progress.say("flapping connections")

    async def flap(near: Device, far: Device) -> None:
        async def work() -> None:
            far.leave()
            for _ in range(FLAPS):
                near.leave()
                await asyncio.sleep(FLAP_S)
                await near.connect()

        await it.unseen("flapping", near.account.user, work, quiet_s=OFFLINE_AFTER_S + QUIET_S)
        await far.connect()

    await asyncio.gather(*(flap(*pair) for pair in it.pairs[1 :: MEMBERS // 2]))


async def _storm(it: Onlookers) -> None:
    """Very many come at once: everyone is shown the others, in few frames."""
    it.stage.progress.say(f"{len(it.storm):,} devices at once")
    frames, entries, begun = it.sightings.frames, it.sightings.entries, clock()
    await it.crowd.connect(it.storm, starts={})
    connected = clock() - begun
    members = it.crowd.members()

    def level() -> bool:
        return all(
            sees(watcher, device.account.user) == "online"
            for devices in members.values()
            for watcher in devices
            for device in devices
        )

    if not await until(level, within_s=SEEN_S, look_s=0.1):
        it.broken.append("after the storm not everyone was shown as online")
    shown, told = it.sightings.frames - frames, it.sightings.entries - entries
    it.figures["storm"] = {
        "devices": len(it.storm),
        "connected_s": round(connected, 2),
        "level_after_s": round(clock() - begun, 2),
        "frames": shown,
        "users_shown": told,
        "frames_per_device": round(shown / max(len(it.storm), 1), 2),
    }


# What happens to servers


async def _killed(it: Onlookers) -> None:
    """kill -9 of the second server: who was only there is gone, the others stay, nobody is resurrected."""
    it.stage.progress.say("kill -9 of one of two servers")
    pairs = it.pairs
    gone, staying = pairs[::2], pairs[1::2]
    for near, _ in gone:
        near.leave()
    for _, far in staying:
        far.leave()
    await asyncio.sleep(OFFLINE_AFTER_S + QUIET_S)  # what that changes has been shown, if anything
    watchers = [near for near, _ in staying]
    lost = {near.account.user for near, _ in gone}
    kept = {near.account.user: it.sightings.changes_of(near.account.user) for near in watchers}
    expected = [
        it.sightings.expect(user, _in_room(it, user, watchers), _is("offline")) for user in lost
    ]
    since = clock()
    it.stage.recorder.record(Fault(t=int(since * 1e9), name="kill", phase="begin", target="second"))
    await it.far_server.kill()
    for one in expected:
        if not await one.met(within_s=KILLED_S):
            it.broken.append(f"{len(one.missing)} devices were never shown that a user is gone")
        it.killed_s += [moment - since for moment in one.seen.values()]
    _feel(it, len(it.killed_s))
    for user, before in kept.items():
        held = it.sightings.changes_of(user) == before
        it.check("a user of the surviving server is not shown as changed", held=held)
    await _restarted(it, [far for _, far in gone], lost, watchers, since=since)


def _feel(it: Onlookers, times: int) -> None:
    now = it.stage.recorder.now()
    felt = {"views that changed": float(times)}
    it.stage.recorder.record(Fault(t=now, name="kill", phase="felt", target="second", effect=felt))
    it.stage.recorder.record(Fault(t=now, name="kill", phase="end", target="second"))


def _in_room(it: Onlookers, user: str, devices: Sequence[Device]) -> list[Device]:
    watching = {device.number for device in it.watchers(user)}
    return [device for device in devices if device.number in watching]


async def _restarted(
    it: Onlookers,
    devices: Sequence[Device],
    lost: set[str],
    watchers: Sequence[Device],
    *,
    since: float,
) -> None:
    """A new server in its place knows nobody; who comes back is shown again, once it could be told who was a ghost."""
    for device in devices:
        device.leave()
    before = {user: it.sightings.changes_of(user) for user in lost}
    await it.far_server.start()
    await asyncio.sleep(QUIET_S)
    for user in lost:
        held = it.sightings.changes_of(user) == before[user]
        it.check("a restarted server resurrects nobody", held=held)
    await asyncio.sleep(max(since + GONE_S - clock(), 0.0))
    for device in devices:

        async def comes(device: Device = device) -> float:
            await device.connect()
            return device.greeted

        user = device.account.user
        by = _in_room(it, user, watchers)
        await it.seen("online after a kill", user, _is("online"), cause=comes, by=by)


async def _haunt(it: Onlookers) -> str:
    """What a server that signs nobody off was convicted of: a sentence, or nothing."""
    _, _, accounts = _split(it.stage.environment.accounts, it.stage.options)
    return await ghosts.convicted(it.stage, accounts)


def _findings(it: Onlookers, convicted: str) -> Findings:
    together = Latency()
    for latency in it.shown.values():
        together.merge(latency)
    trusted = it.generator
    shown = it.shown | {"offline, beyond the wait": it.offline}
    findings = Findings(
        outcomes=[
            outcome_of(trusted, "T21.shown", together.percentile(99), source=f"{together.count} sightings"),
            outcome_of(trusted, "T21.offline", it.offline.percentile(99), source=f"{it.offline.count} sightings"),
            outcome("T21.killed", max(it.killed_s, default=None), source=f"{len(it.killed_s)} sightings"),
            outcome("T7", connected_percent(it.near, it.far, it.crowd), source="sessions opened"),
            outcome("V5", 100.0 * bool(convicted), source=convicted or "nobody was convicted"),
        ],
        latency=together.summary(),
        spectra={name: latency for name, latency in shown.items() if latency.count},
        broken=it.broken,
        coverage=[
            Covered(name=name, kind="always", checked=checked, held=held)
            for name, (checked, held) in it.checks.items()
        ],
    )  # fmt: skip
    findings.figures |= {
        "p99_ms": {name: latency.percentile(99) for name, latency in shown.items()},
        "p50_ms": {name: latency.percentile(50) for name, latency in shown.items()},
        "generator": it.generator.figures(),
        **it.figures,
    }
    if it.killed_s:
        findings.figures["killed_s"] = {"first": min(it.killed_s), "last": max(it.killed_s)}
    note_generator(it.generator, findings)
    for fleet in (it.near, it.crowd):
        note_troubles(fleet, findings)
    return findings


SCENARIO = Scenario(
    name="presence",
    group="e2e",
    title="who is shown as here, and how fast; what is left when a server is killed",
    crowd=crowd,
    plan=plan,
    run=run,
    goals=GOALS,
    kills=True,
)
