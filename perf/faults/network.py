"""Faults of the network between the second server and its clients, PostgreSQL or Valkey, by way of `proxy`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from perf.faults.fault import NOTICED_S, Fault, Known, Silence, Site, Span
from perf.faults.proxy import Proxy, Rule

LinkName: TypeAlias = Literal["clients", "postgres", "valkey"]
LINKS: Final[tuple[LinkName, ...]] = ("clients", "postgres", "valkey")

DELAY, JITTER = Rule(delay_s=0.2), Rule(delay_s=0.05, jitter_s=0.4)
NARROW = Rule(
    bytes_per_s=20_000
)  # about an old telephone line's, many times less than the load needs
STUCK = Rule(stuck=True)
SLOW = frozenset({"delay", "jitter", "bandwidth"})  # kinds that let everything pass
FROZEN_S = 12.0  # after so long a server gives up a database that says nothing


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One way in which a line fails: what is done to its proxy, and by which of its effects it is felt.

    `untold`: nothing comes down the line; `unheard`: nothing goes up; `lost`: so it is for the connections there were.
    """

    name: str
    what: str
    impose: Callable[[Proxy], None]
    effects: tuple[str, ...]
    untold: bool = False
    unheard: bool = False
    lost: bool = False
    hold_s: Span = (3.0, 6.0)


KINDS: Final = (
    Kind(
        name="cut",
        what="every connection is ended, new ones are refused",
        impose=lambda proxy: proxy.cut(),
        effects=("cut", "refused"),
    ),
    Kind(
        name="reset",
        what="every connection is reset, and so are new ones",
        impose=lambda proxy: proxy.cut(reset=True),
        effects=("reset", "refused"),
    ),
    Kind(
        name="half-open",
        what="connections end for the far side; the near one is told nothing",
        impose=lambda proxy: proxy.forget(),
        effects=("forgotten",),
        # The device believes to be here until it asks; for the server it has gone, and it says so.
        untold=True,
        unheard=True,
        lost=True,
        hold_s=(1.0, 1.0),
    ),
    Kind(
        name="delay",
        what="200 ms each way",
        impose=lambda proxy: proxy.impose({"up": DELAY, "down": DELAY}),
        effects=("delayed",),
    ),
    Kind(
        name="jitter",
        what="50 to 450 ms each way, at random",
        impose=lambda proxy: proxy.impose({"up": JITTER, "down": JITTER}),
        effects=("delayed",),
    ),
    Kind(
        name="bandwidth",
        what="20 kB/s a connection each way",
        impose=lambda proxy: proxy.impose({"up": NARROW, "down": NARROW}),
        effects=("limited",),
    ),
    Kind(
        name="blackhole",
        what="nothing passes, nobody is told",
        impose=lambda proxy: proxy.impose({"up": STUCK, "down": STUCK}),
        effects=("stuck",),
        untold=True,
        unheard=True,
        hold_s=(6.0, 12.0),
    ),
    Kind(
        name="blackhole-up",
        what="nothing passes towards who was connected to, answers do",
        impose=lambda proxy: proxy.impose({"up": STUCK}),
        effects=("stuck",),
        unheard=True,
        hold_s=(6.0, 12.0),
    ),
    Kind(
        name="blackhole-down",
        what="requests pass, no answer does",
        impose=lambda proxy: proxy.impose({"down": STUCK}),
        effects=("stuck",),
        untold=True,
        hold_s=(6.0, 12.0),
    ),
)


def _noticed(lasted_s: float) -> float:
    """How long a server is without its database that has lost the connections and is not told."""
    return max(lasted_s, FROZEN_S)


class NetworkFault(Fault):
    """One kind of failure on one line of the second server."""

    def __init__(self, site: Site, link: LinkName, kind: Kind) -> None:
        super().__init__(site)
        self.name, self.what, self.hold_s = named(link, kind), sentence(link, kind), kind.hold_s
        self._proxy: Proxy = getattr(site.links, link)
        self._link, self._kind = link, kind
        self._effects = {name: self._proxy.effects[name] for name in kind.effects}

    async def begin(self) -> None:
        """Break the line."""
        self._kind.impose(self._proxy)

    async def end(self) -> None:
        """Mend it."""
        self._proxy.heal()

    def silences(self) -> Iterable[Silence]:
        """The second server's devices, if nothing reaches them; or, if it can't reach the database, nobody hears of them."""
        devices, kind = self.site.far.devices, self._kind
        if self._link == "postgres" and kind.name not in SLOW:
            yield Silence(devices=devices, unheard=True, lasts_s=_noticed if kind.lost else float)
        elif self._link == "clients" and (kind.untold or kind.unheard):
            yield Silence(
                devices=devices,
                untold=kind.untold,
                unheard=kind.unheard,
                lost=kind.lost,
                lasts_s=(lambda _: NOTICED_S) if kind.lost else float,
            )

    async def felt(self) -> dict[str, float]:
        """What happened to real traffic: connections and chunks that met the fault."""
        now = self._proxy.effects
        return {name: float(now[name] - before) for name, before in self._effects.items()}


def named(link: LinkName, kind: Kind) -> str:
    """How the fault is called on the command line."""
    return f"{link}-{kind.name}"


def sentence(link: LinkName, kind: Kind) -> str:
    """What it does."""
    other = {"clients": "its clients", "postgres": "PostgreSQL", "valkey": "Valkey"}[link]
    return f"between the second server and {other}: {kind.what}"


def _known(link: LinkName, kind: Kind) -> Known:
    def make(site: Site) -> Fault:
        return NetworkFault(site, link, kind)

    return Known(sentence(link, kind), kind.hold_s, make)


ALL: Final = {named(link, kind): _known(link, kind) for link in LINKS for kind in KINDS}
