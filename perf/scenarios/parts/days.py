"""A working day of a team, compressed: who is here when, who says what where, who joins, leaves, gets a file.

Pure: one seed is one day, and `office` carries it out. It runs from 06:00 to 08:00 of the next morning, so
that everyone comes back to what the night has brought. Hours are those of the day, `at` is in real seconds.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, NamedTuple, TypeAlias

# fmt: off
What: TypeAlias = Literal[
    "arrive", "depart", "send", "edit", "delete", "read", "drop",
    "file", "join", "leave", "link", "revoke", "deploy",
]
# fmt: on
Span: TypeAlias = tuple[float, float]

BEGINS, ENDS = 6.0, 32.0
# How much is said in each hour from midnight: two humps round a lunch, and a night for those on call.
HOURLY = (1, 1, 0.5, 0.5, 0.5, 1, 2, 6, 12, 18, 20, 18, 10, 12, 18, 18, 15, 10, 6, 5, 5, 4, 3, 2)
MIX: Mapping[What, float] = {"send": 0.7, "edit": 0.08, "delete": 0.03, "read": 0.16, "drop": 0.03}
SIZES = (3, 3, 4, 4, 5, 6, 8)  # members of a room; the first room has everyone
SHORTEST, LONGEST = 20, 200  # characters of a message
AWAKE_H = 0.3  # so long after a device has come it begins to talk
LINKED, REVOKED = 0, 1  # the persons who get one device more, and lose one
LINKED_AT, REVOKED_AT = 10.5, 15.0
ON_CALL = 10  # one person in so many
NOBODY = -1


@dataclass(frozen=True, kw_only=True)
class Team:
    """How many they are and how much they do in a day of `seconds`; `deploys` are hours."""

    people: int
    devices: int  # of each
    rooms: int
    requests: int
    files: int
    joins: int
    leaves: int
    deploys: tuple[float, ...]
    seconds: float

    @property
    def on_call(self) -> range:
        """The persons who are here all night, on their first device."""
        return range(self.people - max(self.people // ON_CALL, 1), self.people)


class Moment(NamedTuple):
    """Something that happens `at` seconds after the day began. `device` is one of the person's."""

    at: float
    what: What
    person: int = NOBODY
    device: int = 0
    room: int = NOBODY
    length: int = 0


@dataclass(frozen=True, kw_only=True)
class Day:
    """Members of each room in the morning, its founder first; and what happens, in order."""

    rooms: Sequence[Sequence[int]]
    moments: Sequence[Moment]

    def counts(self) -> dict[str, int]:
        """How often each thing happens."""
        found: dict[str, int] = {}
        for moment in self.moments:
            found[moment.what] = found.get(moment.what, 0) + 1
        return found


def make(team: Team, *, seed: int) -> Day:
    """The day of this seed."""
    dice = random.Random(seed)
    rooms = [tuple(range(team.people)), *(_room(team, dice) for _ in range(team.rooms - 1))]
    spans = dict(_spans(team, dice))
    scale = team.seconds / (ENDS - BEGINS)
    moves = list(_moves(team, rooms, dice))
    events = [
        *_comings(spans),
        *moves,
        *((hour, Moment(0, "deploy")) for hour in team.deploys),
        (LINKED_AT, Moment(0, "link", LINKED, team.devices)),
        (REVOKED_AT, Moment(0, "revoke", REVOKED, team.devices - 1)),
        *_talk(team, rooms, spans, moves, dice),
    ]
    moments = [one._replace(at=round(scale * (hour - BEGINS), 6)) for hour, one in events]
    return Day(rooms=rooms, moments=sorted(moments, key=lambda one: one.at))


def _room(team: Team, dice: random.Random) -> tuple[int, ...]:
    return tuple(dice.sample(range(team.people), min(dice.choice(SIZES), team.people)))


Spans: TypeAlias = dict[tuple[int, int], list[Span]]


def _spans(team: Team, dice: random.Random) -> Iterator[tuple[tuple[int, int], list[Span]]]:
    """From when to when each device is here, in hours."""
    for person in range(team.people):
        for device in range(team.devices):
            if device == 0 and person in team.on_call:
                yield (person, device), [(BEGINS, ENDS)]
            else:
                yield (person, device), _hours(person, device, team, dice)
    yield (LINKED, team.devices), [(LINKED_AT, ENDS)]


def _hours(person: int, device: int, team: Team, dice: random.Random) -> list[Span]:
    """A phone is here from breakfast to bed, a computer at work, a tablet in the evening; all in the morning."""
    on, off = (((6.2, 8.0), (21.5, 23.5)), ((7.5, 9.5), (16.5, 18.5)), ((17.0, 19.0), (21.0, 23.5)))[device % 3]  # fmt: skip
    day = dice.uniform(*on), dice.uniform(*off)
    morning = dice.uniform(30.0, 31.2), ENDS
    if (person, device) == (REVOKED, team.devices - 1):
        return [(min(day[0], 9.0), REVOKED_AT)]
    return [day, morning]


def _comings(spans: Spans) -> Iterator[tuple[float, Moment]]:
    for (person, device), times in spans.items():
        for on, off in times:
            yield on, Moment(0, "arrive", person, device)
            if off < ENDS:
                yield off, Moment(0, "depart", person, device)


def _moves(
    team: Team, rooms: Sequence[Sequence[int]], dice: random.Random
) -> Iterator[tuple[float, Moment]]:
    """Who joins which room, and who leaves: nobody twice, no founder, nobody on call."""
    small = range(1, len(rooms))
    free = [
        (room, person)
        for room in small
        for person in range(team.people)
        if person not in team.on_call and person != rooms[room][0]
    ]
    dice.shuffle(free)
    outside = [pair for pair in free if pair[1] not in rooms[pair[0]]]
    inside = [pair for pair in free if pair[1] in rooms[pair[0]]]
    for room, person in outside[: team.joins]:
        yield dice.uniform(9.5, 16.0), Moment(0, "join", person, room=room)
    for room, person in inside[: team.leaves]:
        yield dice.uniform(10.0, 17.0), Moment(0, "leave", person, room=room)


def _talk(
    team: Team,
    rooms: Sequence[Sequence[int]],
    spans: Spans,
    moves: Sequence[tuple[float, Moment]],
    dice: random.Random,
) -> Iterator[tuple[float, Moment]]:
    """All requests, by who is here then; the room of each by Zipf's law over those that they are in."""
    joined = {(one.person, one.room): hour for hour, one in moves if one.what == "join"}
    left = {(one.person, one.room): hour for hour, one in moves if one.what == "leave"}
    files = set(dice.sample(range(team.requests), min(team.files, team.requests)))
    for number, hour in enumerate(sorted(_hour(dice) for _ in range(team.requests))):
        here = [
            key
            for key, times in spans.items()
            if any(on + AWAKE_H <= hour < off for on, off in times)
        ]
        if not here:
            continue
        person, device = dice.choice(here)
        known = [
            room
            for room, members in enumerate(rooms)
            if (person in members or joined.get((person, room), ENDS) + AWAKE_H < hour)
            and hour < left.get((person, room), ENDS)
        ]
        room = zipf(known, dice)
        what = "file" if number in files else dice.choices([*MIX], [*MIX.values()])[0]
        yield hour, Moment(0, what, person, device, room, dice.randint(SHORTEST, LONGEST))


def _hour(dice: random.Random) -> float:
    """A random moment of the day, by how much is said in each hour."""
    hours = range(int(BEGINS), int(ENDS))
    return dice.choices(hours, [HOURLY[hour % 24] for hour in hours])[0] + dice.random()


def zipf(ranked: Sequence[int], dice: random.Random) -> int:
    """One of these: the one of rank k with a weight of 1/k (Zipf's law with exponent 1)."""
    return dice.choices(ranked, cum_weights=list(accumulate(1 / k for k in range(1, len(ranked) + 1))))[0]  # fmt: skip
