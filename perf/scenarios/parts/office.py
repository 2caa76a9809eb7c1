"""Carries a team's day out: devices come and go, people talk, run their errands, and servers are deployed.

The plan is kept whatever the server does (open loop): a latency counts from the intended moment. A request
of somebody who is not in the room yet, or any more, is left out and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from perf.history.events import Fault
from perf.history.testimony import clock
from perf.load.fleet import until
from perf.load.generator import Generator
from perf.load.rest import NoAnswer
from perf.load.workload import TICK_S, body
from perf.measure.series import Series
from perf.rig.children import RigError
from perf.rig.server import Server
from perf.scenarios.parts import errands, rollout
from perf.scenarios.parts.days import Day, Moment, What
from perf.scenarios.parts.floor import ENTER_S, Floor
from perf.scenarios.parts.shared import MARKS_S

SETTLE_S = BACK_S = 30.0  # T11's limit
LOOK_S = 0.02
# The judge holds a mark against the server once it was said for a while, longer by each that there is; one whose
# hint was lost, as by a process that is not in the group yet, is found within 5 s (G6).
MARKED_S, PER_MARK_S = 6.0, 0.0025

ERRANDS: Mapping[What, Callable[[Floor, Moment], Awaitable[None]]] = {
    "file": errands.share,
    "join": errands.join,
    "leave": errands.leave,
    "link": errands.link,
    "revoke": errands.revoke,
}


@dataclass(kw_only=True)
class Office:
    """One day. `deployed` is the server whose processes a deploy replaces; None: there are no deploys."""

    day: Day
    floor: Floor
    series: Series
    deployed: Server | None = None
    generator: Generator = field(default_factory=Generator)
    deploys_s: list[float] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)  # from a deploy's end until all are here

    async def work(self) -> None:
        """From the first arrival to the next morning, until everyone is level."""
        begun = clock()
        async with self.generator.watched(), asyncio.TaskGroup() as tasks:
            for moment in self.day.moments:
                intended = begun + moment.at
                if (wait := intended - clock()) > TICK_S / 2:
                    await asyncio.sleep(wait)
                self.generator.sent(max(clock() - intended, 0.0))
                self.series.count("load.asked")
                self._begin(moment, intended, tasks)
        floor = self.floor
        if not await until(lambda: not floor.behind(), within_s=SETTLE_S, look_s=LOOK_S):
            floor.problems.append(f"after {SETTLE_S:.0f} s not all were level: {floor.behind()}")
        await asyncio.sleep(MARKED_S + PER_MARK_S * floor.read())
        await until(lambda: not floor.unconfirmed(), within_s=MARKS_S, look_s=LOOK_S)

    def _begin(self, it: Moment, intended: float, tasks: asyncio.TaskGroup) -> None:
        match it.what:
            case "arrive":
                tasks.create_task(self._arrive(it))
            case "depart":
                self._depart(it)
            case "deploy":
                tasks.create_task(self._deploy())
            case "send" | "edit" | "delete" | "read" | "drop":
                self._talk(it, intended)
            case _:
                tasks.create_task(self._run(it))

    def _talk(self, it: Moment, intended: float) -> None:
        """A request over the socket, of a device that may be between two connections."""
        key, room = (it.person, it.device), self.floor.rooms[it.room]
        device = self.floor.speaker(key, room)
        if device is None:
            return
        own = self.floor.sent(key)
        stored = next((one for one in own if one.message and one.conversation == room.id), None)
        what = it.what if stored is not None or it.what not in {"edit", "delete"} else "send"
        self.floor.done[what] += 1
        if what == "read":
            device.read(room.id)
        elif what == "drop":
            device.drop()
        elif what == "send":
            text = body(it.length, self.floor.done["send"])
            own.append(device.send(room.id, text, intended=intended))
        elif stored is not None:
            own.remove(stored)  # changed once: its version is known
            if what == "edit":
                device.edit(stored, body(it.length, self.floor.done["edit"]), intended=intended)
            else:
                device.delete(stored, intended=intended)
        device.flush()

    async def _arrive(self, it: Moment) -> None:
        devices = self.floor.people[it.person]
        if it.device >= len(devices):
            return  # it is linked only later, and comes then
        if not await self.floor.enter((it.person, it.device), devices[it.device]):
            self.floor.problems.append(f"device {it.device} of person {it.person} did not get in within {ENTER_S:.0f} s")  # fmt: skip
        self.floor.done["arrive"] += 1

    def _depart(self, it: Moment) -> None:
        key = (it.person, it.device)
        if key in self.floor.gone:
            return
        self.floor.present.discard(key)
        if (device := self.floor.devices.get(key)) is not None:
            device.leave()
        self.floor.done["depart"] += 1

    async def _run(self, it: Moment) -> None:
        """An errand; that it failed for good is a problem, but not the end of the day."""
        try:
            await ERRANDS[it.what](self.floor, it)
            self.floor.done[it.what] += 1
        except NoAnswer as error:
            self.floor.problems.append(f"{it.what}: {error}")

    async def _deploy(self) -> None:
        """Replace the processes of the server one by one, and see everyone come back."""
        if self.deployed is None:
            return
        floor, begun = self.floor, clock()
        before = len(floor.shelves.closures)
        self._note("begin")
        try:
            floor.done["replaced processes"] += await rollout.roll(self.deployed)
        except RigError as error:
            floor.problems.append(str(error))
        healed = clock()
        self._note("felt", closures=float(len(floor.shelves.closures) - before))
        self._note("end")
        self.deploys_s.append(healed - begun)
        here = {key for key in floor.present if floor.came(key)}
        if not await until(
            lambda: all(floor.devices[key].online for key in here & floor.present),
            within_s=BACK_S,
            look_s=LOOK_S,
        ):
            floor.problems.append(f"not all were back {BACK_S:.0f} s after a deploy")
        self.back_s.append(clock() - healed)

    def _note(self, phase: Literal["begin", "felt", "end"], **effect: float) -> None:
        recorder = self.floor.recorder
        recorder.record(
            Fault(t=recorder.now(), name="deploy", phase=phase, target="server", effect=effect)
        )
