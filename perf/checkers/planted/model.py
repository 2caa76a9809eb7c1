"""A tiny messaging service without faults, which writes the history that its devices would.

Driven by steps of small integers, each of which is possible at any time, so that both a seed and
hypothesis can drive it. It is a model of the guarantees, not of the server: one list of changes per
conversation, read from a cursor, by any number of devices in any number of processes.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

from perf.checkers.planted.cast import OLD, Machine, Request, Room
from perf.checkers.planted.scribe import RUN, Scribe
from perf.history.events import (
    Acked,
    Added,
    Change,
    Closed,
    Cursors,
    Fault,
    Fetched,
    Marked,
    MarkSeen,
    Page,
    Refused,
    Removed,
    Revoked,
    RunEnded,
    Sent,
    Stay,
    Unreached,
)
from perf.history.memory import History

Step: TypeAlias = tuple[int, int, int]
"""What to do, and two choices."""

LONG_NS = 20_000_000_000  # longer than presence may be wrong
REST_NS = 3_000_000_000  # at the end: long enough for every mark to be stored and shown
SYSTEM_DIGEST = 5  # of the messages by which the model says who came and who left


class Model(Scribe):
    """The service and its devices. Call `play` with steps, then `finish`."""

    def __init__(
        self, *, users: int = 3, devices: int = 2, rooms: int = 2, workers: int = 2
    ) -> None:
        super().__init__(users=users, devices=devices, rooms=rooms, workers=workers)
        self._fresh = 0
        for room in self.rooms:
            room.stays = [Stay(room.name, f"user-{index}", 1, None) for index in range(users)]
        for machine in self.machines:
            self._connect(machine)

    def play(self, steps: Iterable[Step]) -> None:
        """Take steps. Anything that is not possible just now is passed over."""
        acts = self._ACTS
        for act, one, other in steps:
            machine = self.machines[one % len(self.machines)]
            room = self.rooms[other % len(self.rooms)]
            acts[act % len(acts)](self, machine, room, one + other)

    def finish(self, *, away: int = 1) -> History:
        """Let everyone but the last `away` devices come back and get everything; return the history."""
        for machine in self.machines:
            self._join(machine)
        staying = [machine for machine in self.machines if not machine.revoked]
        for machine in staying[: len(staying) - away]:
            self._connect(machine)
            while machine.requests:
                self._answer(machine, self.rooms[0], 0)
        self._feed_up(staying)
        for machine in staying:
            for room in self.rooms:
                self._mark(machine, room, 1)
        self._clock += REST_NS
        for machine in self.machines:
            cursors = dict(machine.cursors)
            self._tell(machine, Cursors(self._now(), machine.number, cursors, machine.connected))
            if machine.connected:
                self._tell(machine, Closed(self._now(), machine.number, 1000, "rig"))
        for file in self._files:
            file.append(RunEnded(self._now()))
        return History(self._files, self._stored())

    def _feed_up(self, machines: Iterable[Machine]) -> None:
        for machine in machines:
            for room in self.rooms:
                while self._feed(machine, room, 100):
                    pass

    # What can happen

    def _send(self, machine: Machine, room: Room, choice: int) -> None:
        """A device begins to send, edit or delete."""
        stay = room.stay(machine.user)
        if stay is None or stay.left is not None or machine.revoked:
            return
        what: Literal["send", "edit", "delete"] = "send"
        message: str | None = None
        own = [one for one in room.newest.values() if one.device == machine.id and not one.deleted]
        if own and choice % 3 == 0:
            what, message = ("edit", "delete")[choice % 2], own[choice % len(own)].id
        machine.keys += 1
        key = f"{RUN}.{machine.number}.{machine.keys}"
        now = self._now()
        digest = 0 if what == "delete" else zlib.crc32(key.encode())
        envelope = choice % 4 if what == "send" else 0  # some answer others, or bring files
        sent = Sent(now, machine.number, now, key, room.name, digest, what, message, envelope)
        self._tell(machine, sent)
        machine.requests.append(Request(sent))

    def _commit(self, machine: Machine, room: Room, choice: int) -> None:
        """The next request of a device is stored, whether or not it will hear of it."""
        request = next((one for one in machine.requests if one.stored is None), None)
        if request is not None and not machine.revoked:
            self._store(machine, request)

    def _store(self, machine: Machine, request: Request) -> bool:
        sent = request.sent
        room = next(room for room in self.rooms if room.name == sent.conversation)
        stay = room.stay(machine.user)
        old = room.newest.get(sent.message or "")
        if stay is None or stay.left is not None or (sent.message and (old is None or old.deleted)):
            return False
        if old is None:
            self._fresh += 1
            change = Change(
                *(0, f"message-{self._fresh}", 0, 1, machine.id, sent.client_id, sent.digest),
                envelope=sent.envelope,
                origin=self._clock,
            )
        else:
            deleted = sent.what == "delete"
            change = old._replace(version=old.version + 1, digest=sent.digest, deleted=deleted)
        request.stored = room.write(change)
        return True

    def _answer(self, machine: Machine, room: Room, choice: int) -> None:
        """A device gets the answer to its first request, which is stored or refused by then."""
        if not machine.reached or not machine.requests:
            return
        request = machine.requests.pop(0)
        sent, stored = request.sent, request.stored
        if stored is None and choice % 4 == 3:
            self._tell(
                machine,
                Refused(
                    self._now(), machine.number, sent.client_id, "busy", definite=True, final=False
                ),
            )
        if stored is None and not self._store(machine, request):
            refused = Refused(
                self._now(), machine.number, sent.client_id, "conflict", definite=True, final=True
            )
            self._tell(machine, refused)
            return
        stored = request.stored
        assert stored is not None
        self._tell(
            machine,
            Acked(
                self._now(),
                machine.number,
                sent.client_id,
                stored.id,
                stored.seq,
                stored.position,
                stored.version,
            ),
        )

    def _forget(self, machine: Machine, room: Room, choice: int) -> None:
        """A connection is lost and the application does not care what became of its requests."""
        if machine.connected:
            self._disconnect(machine, room, choice)
            machine.requests.clear()

    def _feed(self, machine: Machine, room: Room, choice: int) -> bool:
        """A device is sent what it lacks: the newest states from the database, or each change as it was."""
        cursor, stay = machine.cursors.get(room.name), room.stay(machine.user)
        if cursor is None or stay is None or not machine.reached or room.name in machine.left:
            return False
        end = room.last if stay.left is None else min(room.last, stay.left)
        if cursor >= end:
            return False
        changes = room.log[cursor - OLD : end - OLD]
        if choice % 2 == 0:  # from the database: only what is the newest state of its message
            changes = [one for one in changes if room.newest[one.id].seq == one.seq]
        size = 1 + choice % 7
        upto = changes[size - 1].seq if len(changes) > size else end
        shown = [one for one in changes[:size] if not room.since_joined or one.seq >= stay.joined]
        self._show(machine, Page(0, 0, room.name, cursor, upto, tuple(shown)))
        if stay.left is not None and upto >= stay.left:
            self._tell(machine, Removed(self._now(), machine.number, room.name, stay.left))
            machine.left.add(room.name)
        return True

    def _feed_all(self, machine: Machine, room: Room, choice: int) -> None:
        """Everyone who is there gets what is new, as it happens."""
        for one in self.machines:
            self._feed(one, room, 2 * choice + 1)

    def _disconnect(self, machine: Machine, room: Room, choice: int) -> None:
        """A connection ends."""
        if machine.connected:
            machine.connected = False
            machine.unsaid.clear()
            by: Literal["rig", "server"] = "rig" if choice % 2 else "server"
            self._tell(machine, Closed(self._now(), machine.number, 1006, by))
            self._announce(machine.user)

    def _reconnect(self, machine: Machine, room: Room, choice: int) -> None:
        """A device comes back, perhaps with cursors that it had before."""
        away = not machine.connected and not machine.revoked and not machine.severed
        if away and choice % 5 == 0:
            cursor = machine.cursors.get(room.name)
            if cursor is not None and room.name not in machine.left:
                machine.cursors[room.name] = max(cursor - 1, OLD)
        self._connect(machine)

    def _mark(self, machine: Machine, room: Room, choice: int) -> None:
        """A device says how far it is; the others are shown it."""
        cursor, stay = machine.cursors.get(room.name), room.stay(machine.user)
        if not machine.reached or cursor is None or stay is None or stay.left is not None:
            return
        delivered, read = machine.marks.get(room.name, (0, 0))
        delivered = max(delivered, cursor)
        read = max(read, cursor if choice % 2 else 0)
        machine.marks[room.name] = delivered, read
        self._tell(machine, Marked(self._now(), machine.number, room.name, delivered, read))
        for one in self.machines:
            theirs = room.stay(one.user)
            if one.reached and theirs is not None and theirs.left is None:
                seen = MarkSeen(self._now(), one.number, room.name, machine.id, delivered, read)
                self._tell(one, seen)

    def _move(self, machine: Machine, room: Room, choice: int) -> None:
        """A user leaves, or is added."""
        stay = room.stay(machine.user)
        if stay is None:
            return
        self._fresh += 1
        made = room.write(Change(0, f"message-{self._fresh}", 0, 1, None, None, SYSTEM_DIGEST))
        if stay.left is None:
            ended = Stay(room.name, machine.user, stay.joined, made.seq)
            room.stays[room.stays.index(stay)] = ended
            self._show_moved(machine.user)
            return
        room.stays.append(Stay(room.name, machine.user, made.seq, None))
        for one in self.machines:
            if one.user == machine.user:
                one.left.discard(room.name)
                one.unsaid[room.name] = one.cursors.setdefault(room.name, made.seq - 1)
                self._say_added(one)
        self._show_moved(machine.user)

    def _say_added(self, machine: Machine) -> None:
        """Whoever is not connected finds it in the welcome; whom nothing reaches hears of it later."""
        if machine.reached:
            for name, since in machine.unsaid.items():
                self._tell(machine, Added(self._now(), machine.number, name, since))
        if machine.reached or not machine.connected:
            machine.unsaid.clear()

    def _write_foreign(self, machine: Machine, room: Room, choice: int) -> None:
        """Somebody writes SQL: a new message, or a change of one that may be older than the run."""
        messages = list(room.newest.values())
        if choice % 2 and messages:
            old = messages[choice % len(messages)]
            if not old.deleted and old.digest != SYSTEM_DIGEST:
                room.write(old._replace(version=old.version + 1, digest=self._clock % 997))
            return
        self._fresh += 1
        change = Change(0, f"message-{self._fresh}", 0, 1, None, None, self._clock % 991)
        if choice % 6 == 0 and f"old-{room.name}" not in room.newest:
            change = change._replace(id=f"old-{room.name}", position=2, version=4)
        room.write(change)

    def _fetch(self, machine: Machine, room: Room, choice: int) -> None:
        """A device reads a page over REST."""
        stay = room.stay(machine.user)
        if stay is None or stay.left is not None or machine.revoked:
            return
        floor = stay.joined if room.since_joined else 0
        before = None if choice % 2 else room.last - choice % 3
        rows = sorted(room.newest.values(), key=lambda row: -row.position)
        rows = [row for row in rows if row.position >= floor]
        rows = [row for row in rows if before is None or row.position < before][: 1 + choice % 5]
        asked = self._now()
        event = Fetched(self._now(), machine.number, asked, room.name, before, tuple(rows))
        self._tell(machine, event)

    def _revoke(self, machine: Machine, room: Room, choice: int) -> None:
        """A device is revoked; it is no more."""
        standing = [one for one in self.machines if not one.revoked]
        if len(standing) <= 3 or choice % 4:
            return
        self._disconnect(machine, room, 0)
        machine.revoked = True
        machine.requests.clear()
        self._files[0].append(Revoked(self._now(), machine.id))

    def _break(self, machine: Machine, room: Room, choice: int) -> None:
        """A fault comes, is felt and goes; it has no effect on what is true."""
        for phase in ("begin", "felt", "end"):
            effect = {"connections": 1.0} if phase == "felt" else {}
            self._files[0].append(Fault(self._now(), "cut", phase, "redis", effect))

    def _sever(self, machine: Machine, room: Room, choice: int) -> None:
        """A fault keeps a connected device out of reach, perhaps for long; or it is over."""
        if machine.severed:
            if choice % 2:
                self._feed_up(self.machines)
                self._clock += LONG_NS
            self._join(machine)
        elif machine.connected:
            machine.severed = self._now()
            self._record(machine, until=None)
            self._announce(machine.user)

    def _join(self, machine: Machine) -> None:
        """The fault is over: the device is told what it was not."""
        if not machine.severed:
            return
        self._record(machine, until=self._now())
        machine.severed = 0
        if not machine.connected:
            return
        self._say_added(machine)
        for room in self.rooms:  # what was on its way, also if its user has left meanwhile
            if room.name not in machine.left:
                self._show_marks(machine, room)
        self._announce(machine.user)
        for one in self.machines:
            self._show_presence(machine, one.user)

    def _record(self, machine: Machine, *, until: int | None) -> None:
        now, number, since = self._now(), machine.number, machine.severed
        self._tell(machine, Unreached(now, number, since, until, untold=True, unheard=True))

    def _show_marks(self, machine: Machine, room: Room) -> None:
        """No mark overtakes the fence below it: who has left is shown none of what came later."""
        stay = room.stay(machine.user)
        left = stay.left if stay is not None else None
        for one in self.machines:
            delivered, read = one.marks.get(room.name, (0, 0))
            if delivered and (left is None or delivered <= left):
                marks = room.name, one.id, delivered, read
                self._tell(machine, MarkSeen(self._now(), machine.number, *marks))

    _ACTS: tuple[Callable[[Model, Machine, Room, int], object], ...] = (
        _send,
        _feed_all,
        _answer,
        _commit,
        _send,
        _feed,
        _feed_all,
        _answer,
        _mark,
        _disconnect,
        _reconnect,
        _send,
        _reconnect,
        _move,
        _write_foreign,
        _fetch,
        _forget,
        _feed_all,
        _break,
        _revoke,
        _sever,
    )


def story(seed: int, *, steps: int = 150) -> History:
    """A good history of so many steps; equal seeds give equal ones."""
    chance = random.Random(seed)
    model = Model(
        users=chance.randint(2, 4), devices=chance.randint(1, 2), workers=chance.randint(1, 3)
    )
    model.play(
        (chance.randrange(len(Model._ACTS)), chance.randrange(60), chance.randrange(60))
        for _ in range(steps)
    )
    return model.finish(away=chance.randint(0, 1))
