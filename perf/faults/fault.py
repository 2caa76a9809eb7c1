"""What a fault is: a value with a name, which begins, is felt or not, and ends; and what it may act on.

Laws: a fault touches only what the rig has started, by pid or through the rig's own proxies; `end`
always heals, also when `begin` fell over half-way; `felt` is evidence that somebody beside the rig met
it, never that the rig did it. A fault that nobody felt proves nothing: its run is unknown.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from perf.faults.ground import Ground, Lay, plain
from perf.faults.links import Links
from perf.history.events import Unreached
from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.fleet import Fleet
from perf.load.observer import Troubles
from perf.rig.environment import Environment
from perf.rig.keeper import Kept
from perf.rig.server import Server

Span: TypeAlias = tuple[float, float]

NOTICED_S = 30.0  # after so long the most silent client has noticed that its connection is dead

WAITED_S = 1.0  # hundreds of commits take place in so long


@dataclass(frozen=True, kw_only=True)
class Site:
    """What a fault may act on. `victim` is the second of two servers, `far` its devices, `links` its lines.

    `troubles` hears of every refusal and lost connection, `promised` grows with every message that was
    acknowledged (its id by its client_id). `seed` is the run's.
    """

    environment: Environment
    kept: Kept
    victim: Server
    links: Links
    near: Fleet
    far: Fleet
    troubles: Troubles
    promised: Mapping[str, str] = field(default_factory=dict)
    ground: Ground = field(default_factory=Ground)
    seed: int = 0

    @property
    def devices(self) -> list[Device]:
        """All devices, of both servers."""
        return [*self.near.devices, *self.far.devices]

    @property
    def conversations(self) -> Sequence[str]:
        """The conversations of the load, busy all the time."""
        return list(dict.fromkeys(one.account.conversations[0] for one in self.devices))

    @property
    def database_url(self) -> str:
        """Of PostgreSQL itself, not through a proxy."""
        return self.kept.addresses["DATABASE_URL"]

    @property
    def redis_url(self) -> str:
        """Of Valkey itself, not through a proxy."""
        return self.kept.addresses["REDIS_URL"]

    def refusals(self) -> float:
        """How many requests were refused so far."""
        return float(sum(self.troubles.refusals.values()))

    def closures(self) -> float:
        """How many connections were lost so far, without the rig having asked for it."""
        return float(len(self.troubles.closures))

    def unanswered(self) -> float:
        """How many requests have waited for an answer for longer than any commit takes."""
        long_ago = clock() - WAITED_S
        return float(
            sum(one.actual < long_ago for device in self.devices for one in device.pending.values())
        )

    def behind(self) -> float:
        """How many devices of the victim are not where another device of their conversation is."""
        furthest: dict[str, int] = {}
        for device in self.devices:
            name = device.account.conversations[0]
            furthest[name] = max(furthest.get(name, 0), device.client.cursors.get(name, 0))
        return float(
            sum(
                device.client.cursors.get(name, 0) < furthest[name]
                for device in self.far.devices
                for name in device.account.conversations[:1]
            )
        )


@dataclass(frozen=True, kw_only=True)
class Silence:
    """What of presence can't be known of some devices: nothing reaches them (`untold`), or nobody hears of
    them (`unheard`). `lost`: only the connections that they have, until they notice; `lasts_s`: so long
    after the fault has begun, if not just as long as it lasts.
    """

    devices: Sequence[Device]
    untold: bool = False
    unheard: bool = False
    lost: bool = False
    lasts_s: Callable[[float], float] = float


class Fault(ABC):
    """One thing that goes wrong. `hold_s` is how long it lasts, between the two.

    `lasting` faults are over only when `end` is called; others (a kill) are over when they have begun,
    and what comes then is recovery.
    """

    name: str
    what: str
    hold_s: Span = (3.0, 6.0)
    lasting: bool = True
    ends_servers: bool = False  # processes that serve; with all others none may end

    def __init__(self, site: Site) -> None:
        self.site = site
        self.broken: list[
            str
        ] = []  # what it found out itself: a sentence for each broken guarantee
        self.checked = 0  # how much it looked at for that
        self._before = {name: look() for name, look in self._looks().items()}

    async def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Wait, before there is load, until all is as in a system that has run for a while."""

    @abstractmethod
    async def begin(self) -> None:
        """Let it happen."""

    @abstractmethod
    async def end(self) -> None:
        """Heal it; does nothing if it has not begun. Raises RigError when that fails."""

    async def felt(self) -> dict[str, float]:
        """What others met of it so far, by name; all 0 if nobody met anything."""
        return {}

    def silences(self) -> Iterable[Silence]:
        """Whom it keeps from hearing or being heard; the judge holds what they are shown meanwhile against nobody."""
        return ()

    def testify(self, since: float, until: float | None = None) -> None:
        """Tell the history whom it keeps out of reach, once it has begun and once it is over (seconds of `clock`)."""
        for silence in self.silences():
            over = None if until is None else since + silence.lasts_s(until - since)
            for device in silence.devices:
                self.site.near.recorder.record(
                    Unreached(
                        t=int(clock() * 1e9),
                        device=device.number,
                        since=int(since * 1e9),
                        until=None if over is None else int(over * 1e9),
                        untold=silence.untold,
                        unheard=silence.unheard,
                        lost=silence.lost,
                    )
                )

    def unfelt(self, felt: Mapping[str, float]) -> list[str]:
        """What of it nobody felt, by name, after all that was: nothing if it proves something."""
        return [] if any(felt.values()) else [self.name]

    def met(self, *names: str) -> dict[str, float]:
        """Of the troubles by these names: how many came since the fault was made."""
        looks = self._looks()
        return {name: max(looks[name]() - self._before[name], 0.0) for name in names}

    def _looks(self) -> Mapping[str, Callable[[], float]]:
        return {"lost connections": self.site.closures, "refusals": self.site.refusals}


class Known(NamedTuple):
    """A fault as the command line knows it: what it does, how long it lasts, how it is made for a site.

    `lay` prepares what it needs; `why_not` says why that can't be had here, or nothing.
    """

    what: str
    hold_s: Span
    make: Callable[[Site], Fault]
    lay: Lay = plain
    why_not: Callable[[], str] = str
