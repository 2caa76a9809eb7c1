"""Who is here: sessions and leases in, a user's presence and the difference of two moments out. Pure.

A user is online while any live session is, away while there are only others, else offline. Nobody is
shown to others as gone, or as less here, because of a session that ended less than the debounce ago: a
reconnect is not seen. Whoever is invisible is offline to everyone else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, TypeAlias

Present: TypeAlias = Literal["online", "away"]
State: TypeAlias = Literal["online", "away", "offline"]

RANK: dict[str, int] = {"offline": 0, "away": 1, "online": 2}
STATES: tuple[State, ...] = ("offline", "away", "online")


class Seat(NamedTuple):
    """One session: live while its process's lease lasts and nobody ended it."""

    device: str
    node: str
    state: str
    live: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Here:
    """All that the database knew of a user's presence at one moment."""

    user: str
    seats: tuple[Seat, ...] = ()
    idle: tuple[str, ...] = ()
    """Their other devices that are not revoked."""
    text: str = ""
    until: int | None = None
    """When the text ends: milliseconds since the Unix epoch."""
    text_left: float | None = None
    """Seconds until then, by the database's clock."""
    invisible: bool = False
    last_seen: int | None = None
    """When their last session ended: milliseconds since the Unix epoch; None if there never was one."""
    gone: float | None = None
    """Seconds since then, by the database's clock; more if a process died with it, which was silent before."""

    @property
    def live(self) -> int:
        """How many sessions count."""
        return sum(seat.live for seat in self.seats)

    @property
    def state(self) -> State:
        """Folded from all sessions."""
        return _fold(seat for seat in self.seats if seat.live)

    @property
    def devices(self) -> dict[str, State]:
        """Each device that is not revoked, folded from its own sessions."""
        found: dict[str, State] = dict.fromkeys(
            (*self.idle, *(seat.device for seat in self.seats)), "offline"
        )
        for seat in self.seats:
            if seat.live and RANK[seat.state] > RANK[found[seat.device]]:
                found[seat.device] = STATES[RANK[seat.state]]
        return found


def _fold(seats: Iterable[Seat]) -> State:
    return STATES[max((RANK[seat.state] for seat in seats), default=0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What somebody is shown of a user. Two views are equal if they show the same."""

    user: str
    state: State = "offline"
    text: str = ""
    until: int | None = None
    last_seen: int | None = None
    invisible: bool = False
    devices: tuple[tuple[str, State], ...] = ()
    live: int = field(default=0, compare=False)
    gone: float | None = field(default=None, compare=False)
    text_left: float | None = field(default=None, compare=False)


def seen_by_self(here: Here) -> View:
    """What the user's own devices are shown: everything."""
    return replace(
        _seen(here), invisible=here.invisible, devices=tuple(sorted(here.devices.items()))
    )


def seen_by_others(here: Here) -> View:
    """What everyone else is shown: no single device, and of whoever is invisible nothing."""
    return View(user=here.user) if here.invisible else _seen(here)


def _seen(here: Here) -> View:
    state = here.state
    return View(
        user=here.user,
        state=state,
        text=here.text,
        until=here.until,
        last_seen=here.last_seen if state == "offline" else None,
        live=here.live,
        gone=here.gone,
        text_left=here.text_left,
    )


class Difference(NamedTuple):
    """What is news, what is shown from now on, and after how many seconds time alone changes it."""

    news: dict[str, View]
    shown: dict[str, View]
    due: dict[str, float]


def difference(
    before: Mapping[str, View], now: Mapping[str, View], *, debounce_s: float
) -> Difference:
    """What to tell who was shown `before` when `now` is so; give `shown` as `before` the next time.

    `due` names the users to be looked at again, and in how many seconds: whose absence is held back,
    or whose text ends.
    """
    news: dict[str, View] = {}
    shown: dict[str, View] = {}
    due: dict[str, float] = {}
    for user, view in now.items():
        old = before.get(user)
        wait = _wait(old, view, debounce_s)
        if wait is not None and old is not None:
            view = replace(old, text=view.text, until=view.until, text_left=view.text_left)  # noqa: PLW2901
        shown[user] = view
        if view != old:
            news[user] = view
        moments = [moment for moment in (wait, view.text_left) if moment is not None]
        if moments:
            due[user] = min(moments)
    return Difference(news, shown, due)


def _wait(old: View | None, view: View, debounce_s: float) -> float | None:
    """For how many seconds more the old state is shown; None if the new one is shown now.

    Less because a session ended, which may be back in a moment; less by somebody's own word is shown at once.
    """
    if old is None or view.gone is None or view.live >= old.live:
        return None
    if RANK[view.state] >= RANK[old.state] or view.gone >= debounce_s:
        return None
    return debounce_s - view.gone
