"""A team's day: one seed is one day, everyone comes back in the morning, and nobody talks where they are not."""

from collections import Counter

from perf.scenarios.parts import days
from perf.scenarios.parts.days import BEGINS, ENDS, Moment, Team

TEAM = Team(
    people=20,
    devices=3,
    rooms=12,
    requests=1_500,
    files=10,
    joins=6,
    leaves=6,
    deploys=(13.0, 26.0),
    seconds=26.0,  # a second is an hour
)
DAY = days.make(TEAM, seed=3)


def hour(moment: Moment) -> float:
    return BEGINS + moment.at


def test_one_seed_is_one_day() -> None:
    assert days.make(TEAM, seed=3) == DAY
    assert days.make(TEAM, seed=4) != DAY


def test_things_happen_in_order_and_within_the_day() -> None:
    times = [one.at for one in DAY.moments]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= ENDS - BEGINS


def test_everything_that_was_ordered_happens() -> None:
    counts = DAY.counts()
    asked = ("send", "edit", "delete", "read", "drop", "file")
    # Whoever would have said something when nobody was here has not.
    assert 0.98 * TEAM.requests < sum(counts[what] for what in asked) <= TEAM.requests
    expected = {"file": 10, "join": 6, "leave": 6, "deploy": 2, "link": 1, "revoke": 1}
    assert expected.items() <= counts.items()


def test_every_device_comes_back_in_the_morning_but_the_one_that_was_revoked() -> None:
    here: set[tuple[int, int]] = set()
    nights: set[tuple[int, int]] = set()
    for one in DAY.moments:
        key = (one.person, one.device)
        if one.what == "arrive":
            here.add(key)
        elif one.what in {"depart", "revoke"}:
            here.discard(key)
            nights.add(key)
    everyone = {(person, device) for person in range(20) for device in range(3)}
    assert everyone - here == {(days.REVOKED, 2)}
    assert len(nights) > 50  # most were away for the night


def test_nobody_talks_in_a_room_before_they_are_in_it_or_after_they_have_left() -> None:
    members = [set(room) for room in DAY.rooms]
    for one in DAY.moments:
        match one.what:
            case "join":
                assert one.person not in members[one.room]
                members[one.room].add(one.person)
            case "leave":
                members[one.room].remove(one.person)
            case "send" | "edit" | "delete" | "read" | "file":
                assert one.person in members[one.room], one


def test_most_is_said_in_working_hours_and_something_at_night() -> None:
    said = Counter(int(hour(one)) % 24 for one in DAY.moments if one.what == "send")
    assert min(said[10], said[15]) > 2 * said[20] > 0
    assert sum(said[night] for night in (0, 1, 2, 3, 4, 5)) > 0


def test_conversations_are_as_busy_as_their_rank_by_zipf() -> None:
    said = Counter(one.room for one in DAY.moments if one.what == "send")
    first, *others = [count for _, count in said.most_common()]
    assert first == said[0]  # the room of everyone
    assert first > 2 * others[0] > 0
