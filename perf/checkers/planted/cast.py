"""Who is in the model: conversations with everything that was ever said, devices, and what they asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from perf.history.events import AnyEvent, Change, Sent, Stay

OLD = 3  # changes that each conversation had before the run


@dataclass(slots=True, eq=False)
class Room:
    """A conversation: `log` has every change as it was when it was made."""

    name: str
    since_joined: bool
    log: list[Change] = field(default_factory=list)
    newest: dict[str, Change] = field(default_factory=dict)
    stays: list[Stay] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The number of the last change."""
        return OLD + len(self.log)

    def write(self, change: Change) -> Change:
        """Make a change, with the next number."""
        made = change._replace(seq=self.last + 1)
        if made.version == 1:
            made = made._replace(position=made.seq)
        self.log.append(made)
        self.newest[made.id] = made
        return made

    def stay(self, user: str) -> Stay | None:
        """The user's newest stay."""
        return next((stay for stay in reversed(self.stays) if stay.user == user), None)


@dataclass(slots=True, eq=False)
class Request:
    """Something asked for, not answered yet."""

    sent: Sent
    stored: Change | None = None


@dataclass(slots=True, eq=False)
class Machine:
    """A device."""

    number: int
    id: str
    user: str
    file: list[AnyEvent]
    cursors: dict[str, int] = field(default_factory=dict)
    marks: dict[str, tuple[int, int]] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    requests: list[Request] = field(default_factory=list)
    connected: bool = False
    revoked: bool = False
    severed: int = 0  # since when a fault keeps it out of reach; 0: none does
    unsaid: dict[str, int] = field(
        default_factory=dict
    )  # what it was added to meanwhile, and since what
    sessions: int = 0
    keys: int = 0

    @property
    def reached(self) -> bool:
        """Whether the service knows of a session, and can tell it anything."""
        return self.connected and not self.severed
