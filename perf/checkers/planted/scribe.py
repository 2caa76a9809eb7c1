"""Writes down what happens in the model, as the recorder of a real run would."""

from __future__ import annotations

from typing import Literal

from perf.checkers.planted.cast import OLD, Machine, Room
from perf.history.events import (
    AnyEvent,
    AnyStored,
    Delivered,
    DeviceMade,
    Opened,
    Page,
    PresenceSeen,
    RunBegan,
    StoredConversation,
    StoredMark,
)

TICK_NS = 1_000_000
RUN = "planted"


class Scribe:
    """The files of a run, its clock, and its devices."""

    def __init__(self, *, users: int, devices: int, rooms: int, workers: int) -> None:
        self._clock, self._pages = 1_000_000_000, 0
        self._files: list[list[AnyEvent]] = [[] for _ in range(workers)]
        for worker, file in enumerate(self._files):
            file.append(RunBegan(self._now(), RUN, "planted", 0, worker))
        self.rooms = [Room(f"room-{index}", since_joined=index % 2 == 1) for index in range(rooms)]
        self.machines = [
            Machine(
                index + 1,
                f"device-{index + 1}",
                f"user-{index % users}",
                self._files[index % workers],
            )
            for index in range(users * devices)
        ]
        self._known: dict[tuple[int, Page], int] = {}
        for machine in self.machines:
            machine.cursors = {room.name: OLD for room in self.rooms}
            machine.file.append(DeviceMade(self._now(), machine.number, machine.id, machine.user))

    def _now(self) -> int:
        self._clock += TICK_NS
        return self._clock

    def _tell(self, machine: Machine, event: AnyEvent) -> None:
        machine.file.append(event)

    def _show(self, machine: Machine, page: Page) -> None:
        """A frame arrives; each process writes the content of equal frames once."""
        key = (id(machine.file), page)
        number = self._known.get(key)
        if number is None:
            self._pages += 1
            number = self._known[key] = self._pages
            self._tell(
                machine,
                Page(self._now(), number, page.conversation, page.since, page.upto, page.changes),
            )
        self._tell(machine, Delivered(self._now(), machine.number, number))
        machine.cursors[page.conversation] = page.upto

    def _connect(self, machine: Machine) -> None:
        if machine.connected or machine.revoked or machine.severed:
            return
        machine.connected = True
        machine.sessions += 1
        welcome = {
            room.name: machine.cursors[room.name]
            for room in self.rooms
            if room.name in machine.cursors and machine.cursors[room.name] < room.last
        }
        session = f"session-{machine.number}-{machine.sessions}"
        hello = dict(machine.cursors)
        self._tell(machine, Opened(self._now(), machine.number, session, hello, welcome))
        self._announce(machine.user)
        self._show_everyone(machine)

    def _announce(self, user: str) -> None:
        for one in self.machines:
            if one.reached and self._share(one.user, user):
                self._show_presence(one, user)

    def _show_everyone(self, machine: Machine) -> None:
        for one in self.machines:
            if self._share(machine.user, one.user):
                self._show_presence(machine, one.user)

    def _show_moved(self, user: str) -> None:
        """Somebody came to a conversation or left: who shares none with them any more is shown nobody."""
        for one in self.machines:
            if one.reached:
                others = {other.user for other in self.machines} if one.user == user else {user}
                for other in sorted(others):
                    self._show_presence(one, other)

    def _share(self, user: str, other: str) -> bool:
        """Whether two users may see each other."""
        return user == other or any(
            all((stay := room.stay(one)) and stay.left is None for one in (user, other))
            for room in self.rooms
        )

    def _show_presence(self, machine: Machine, user: str) -> None:
        here = any(one.reached for one in self.machines if one.user == user)
        shown = here and self._share(machine.user, user)
        state: Literal["online", "offline"] = "online" if shown else "offline"
        event = PresenceSeen(self._now(), machine.number, user, state, self._clock)
        self._tell(machine, event)

    def _stored(self) -> list[AnyStored]:
        lines: list[AnyStored] = []
        for room in self.rooms:
            rows = tuple(sorted(room.newest.values(), key=lambda row: row.seq))
            history: Literal["all", "since_joined"] = "since_joined" if room.since_joined else "all"
            lines.append(StoredConversation(room.name, OLD, room.last, history, rows))
            lines.extend(room.stays)
        for machine in self.machines:
            for name, (delivered, read) in machine.marks.items():
                lines.append(StoredMark(name, machine.id, delivered, read))
        return lines
