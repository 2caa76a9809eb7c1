"""What a fleet will do, and when: made from a seed before the run, and kept whatever the server does.

Laws: one seed is one plan, byte for byte; a plan names devices and earlier requests by number, so
it needs no server to be made; the rate may change linearly within a phase, and from phase to phase
at once. `workload` carries a plan out.
"""

from __future__ import annotations

import hashlib
import math
import random
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

What: TypeAlias = Literal["send", "edit", "delete", "read", "resume", "type", "status", "reply"]
Gaps: TypeAlias = Literal["poisson", "constant"]

KINDS: tuple[What, ...] = ("send", "edit", "delete", "read", "resume", "type", "status", "reply")
SHORTEST, LONGEST = 20, 200  # characters of a body
SETTLED_S = (
    1.0  # only what was sent so long before is edited, deleted or replied to: it is stored by then
)
TARGETS = 4  # of the messages of a device how many wait for that
NOTHING = -1  # the target of what needs none


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """So many seconds of `rate` requests a second, or from `rate` evenly up or down to `to`."""

    seconds: float
    rate: float
    to: float | None = None

    @property
    def count(self) -> float:
        """How many requests are to be expected."""
        return self.seconds * (self.rate + self._end) / 2

    @property
    def _end(self) -> float:
        return self.rate if self.to is None else self.to

    def moment(self, count: float) -> float:
        """How many seconds into the phase `count` requests are due: what `count` is the integral of."""
        slope = (self._end - self.rate) / self.seconds
        if slope == 0:
            return count / self.rate
        # rate t + slope t²/2 = count, in the form that is exact when the slope is small
        root = math.sqrt(max(self.rate**2 + 2 * slope * count, 0.0))
        return 2 * count / (self.rate + root)

    def scaled(self, factor: float) -> Phase:
        """The same at `factor` times the rate."""
        to = None if self.to is None else self.to * factor
        return Phase(seconds=self.seconds, rate=self.rate * factor, to=to)


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """How requests are shared out, as weights.

    `resume`: the device is cut off and comes back; `type`: its user types; `status`: the user says how they are;
    `reply`: a message that answers an earlier one of its own.
    """

    send: float = 1.0
    edit: float = 0.0
    delete: float = 0.0
    read: float = 0.0
    resume: float = 0.0
    type: float = 0.0
    status: float = 0.0
    reply: float = 0.0


class Arrival(NamedTuple):
    """One request of a plan: `at` seconds after the start, device `device` of the fleet does `what`.

    `length` is that of the body; `target` the number of the message that is edited, deleted or replied to.
    """

    number: int
    at: float
    device: int
    what: What
    length: int
    target: int


class Plan:
    """All requests in the order of their moments, kept as columns: 19 bytes each."""

    def __init__(self) -> None:
        self.at, self.device, self.what = array("d"), array("i"), array("b")
        self.length, self.target = array("h"), array("i")

    def __len__(self) -> int:
        return len(self.at)

    def __iter__(self) -> Iterator[Arrival]:
        rows = zip(self.at, self.device, self.what, self.length, self.target, strict=True)
        for number, (at, device, what, length, target) in enumerate(rows):
            yield Arrival(number, at, device, KINDS[what], length, target)

    def add(self, at: float, device: int, what: What, *, length: int, target: int) -> None:
        """Append a request that is not before the last."""
        self.at.append(at)
        self.device.append(device)
        self.what.append(KINDS.index(what))
        self.length.append(length)
        self.target.append(target)

    @property
    def counts(self) -> dict[str, int]:
        """How many requests of each kind."""
        found = {kind: self.what.count(index) for index, kind in enumerate(KINDS)}
        return {kind: count for kind, count in found.items() if count}

    @property
    def targets(self) -> frozenset[int]:
        """The messages that a later request edits, deletes or replies to."""
        return frozenset(number for number in self.target if number != NOTHING)

    def part(self, first: int, count: int) -> Plan:
        """The requests of devices `first` to `first + count - 1`, which become devices 0, 1 …"""
        part, numbers = Plan(), {NOTHING: NOTHING}
        for one in self:
            if first <= one.device < first + count:
                numbers[one.number] = len(part)
                part.add(
                    one.at,
                    one.device - first,
                    one.what,
                    length=one.length,
                    target=numbers[one.target],
                )
        return part

    @property
    def digest(self) -> str:
        """The SHA-256 of everything in it, as 16 hexadecimal digits."""
        columns = (self.at, self.device, self.what, self.length, self.target)
        return hashlib.sha256(b"".join(bytes(column) for column in columns)).hexdigest()[:16]


def make(
    *,
    seed: int,
    phases: Sequence[Phase],
    devices: int,
    mix: Mix | None = None,
    gaps: Gaps = "poisson",
) -> Plan:
    """Return the plan of this seed: requests of random devices, with bodies of 20 to 200 characters.

    `gaps` between them are exponential (Poisson arrivals, as independent people make them) or even.
    An edit, deletion or reply without a message to apply to is a send instead.
    """
    dice = random.Random(seed)
    weights = list(msgspec.structs.astuple(mix or Mix()))
    plan, settled = Plan(), _Settled()
    for at in _moments(phases, dice, gaps):
        device = dice.randrange(devices)
        what = dice.choices(KINDS, weights)[0]
        target = NOTHING
        if what in ("edit", "delete", "reply"):
            target = settled.take(device, at)
            what = what if target != NOTHING else "send"
        length = dice.randint(SHORTEST, LONGEST)
        if what in ("send", "reply"):
            settled.add(device, at, len(plan))
        plan.add(at, device, what, length=length, target=target)
    return plan


def _moments(phases: Sequence[Phase], dice: random.Random, gaps: Gaps) -> Iterator[float]:
    """Arrivals with the phases' rates: those of a rate of 1, on a clock that runs at the rate."""
    begun, due = 0.0, _gap(dice, gaps)
    for phase in phases:
        while due <= phase.count:
            # to the microsecond, because logarithms differ in the last digit between machines
            yield round(begun + phase.moment(due), 6)
            due += _gap(dice, gaps)
        due -= phase.count
        begun += phase.seconds


def _gap(dice: random.Random, gaps: Gaps) -> float:
    return dice.expovariate(1.0) if gaps == "poisson" else 1.0


class _Settled:
    """Which messages of a device may be a target: stored by then, and each only once."""

    def __init__(self) -> None:
        self._of: dict[int, deque[tuple[float, int]]] = {}

    def add(self, device: int, at: float, number: int) -> None:
        waiting = self._of.setdefault(device, deque())
        if len(waiting) < TARGETS:
            waiting.append((at, number))

    def take(self, device: int, at: float) -> int:
        waiting = self._of.get(device)
        if waiting and waiting[0][0] <= at - SETTLED_S:
            return waiting.popleft()[1]
        return NOTHING


def described(plan: Plan, phases: Sequence[Phase]) -> dict[str, Any]:
    """What plan.json says of it."""
    return {
        "phases": [msgspec.to_builtins(phase) for phase in phases],
        "seconds": sum(phase.seconds for phase in phases),
        "requests": plan.counts,
        "digest": plan.digest,
    }
