"""What a fault excuses: the views of and at those that it keeps out of reach, for as long as it does, and no others."""

import random
from collections.abc import Callable

import pytest

from perf.checkers import judge
from perf.checkers.planted import History, story
from perf.checkers.planted.in_presence import (
    FAULT_NS,
    Haunted,
    haunt_offline,
    haunt_online,
    keep_out_of_reach,
    users_of,
)
from perf.checkers.planted.model import LONG_NS
from perf.checkers.planted.trials import named
from perf.history.events import (
    AnyEvent,
    AnyStored,
    Closed,
    Cursors,
    DeviceMade,
    Opened,
    Page,
    PresenceSeen,
    Removed,
    RunBegan,
    RunEnded,
    Stay,
    StoredConversation,
    Unreached,
)
from perf.history.reader import gather

SECOND = 1_000_000_000
STEPS = 250
WATCHER, USER = 1, 2
ROOM = "room"


def at(seconds: float) -> int:
    return int(seconds * SECOND)


@pytest.mark.parametrize(("lasts_ns", "found"), [(2 * LONG_NS, set()), (FAULT_NS, {"ghost online"})])  # fmt: skip
def test_a_ghost_at_a_device_out_of_reach_is_excused_for_as_long_as_the_fault_lasts(
    lasts_ns: int, found: set[str]
) -> None:
    """Everybody goes; one device is not told, because it is out of reach."""
    assert judged(haunt_online, lasts_ns=lasts_ns, untold=True) == found


@pytest.mark.parametrize(("lasts_ns", "found"), [(2 * LONG_NS, set()), (FAULT_NS, {"ghost offline"})])  # fmt: skip
def test_who_can_not_be_heard_may_be_shown_as_gone_for_as_long_as_the_fault_lasts(
    lasts_ns: int, found: set[str]
) -> None:
    assert judged(haunt_offline, lasts_ns=lasts_ns, unheard=True) == found


def judged(
    haunt: Callable[[History, random.Random], Haunted | None],
    *,
    lasts_ns: int,
    untold: bool = False,
    unheard: bool = False,
) -> frozenset[str]:
    """What is found of a ghost where the watcher is untold, or the ghost unheard."""
    seeds = ((story(seed, steps=STEPS), random.Random(seed)) for seed in range(40))
    history, it = next((one, it) for one, chance in seeds if (it := haunt(one, chance)))
    user = users_of(history)[(it.watcher if untold else it.ghost).device]
    keep_out_of_reach(
        history, user, since=it.since, lasts_ns=lasts_ns, untold=untold, unheard=unheard
    )
    judgement = judge(history.evidence())
    assert judgement.anomalies or judgement.tolerated["out of reach"]
    return named(judgement)


# A history of one who watches and one who is watched, both there from the beginning.


def counts(*events: AnyEvent, stays: tuple[Stay, ...] = ()) -> dict[str, int]:
    begin: list[AnyEvent] = [
        RunBegan(0, "run", "test", 0),
        DeviceMade(0, WATCHER, "d1", "watcher"),
        DeviceMade(0, USER, "d2", "user"),
        Opened(1, WATCHER, "s1", {ROOM: 0}, {}),
        Opened(2, USER, "s2", {ROOM: 0}, {}),
        PresenceSeen(3, WATCHER, "user", "online", 1),
    ]
    end = [Cursors(at(90), number, {}, connected=number == WATCHER) for number in (WATCHER, USER)]
    stored: list[AnyStored] = []
    if stays:
        stored = [StoredConversation(ROOM, 0, 2, "all", ()), *stays]
    found = judge(gather([[*begin, *events, *end, RunEnded(at(91))]], stored)).counts
    return {name: found[name] for name in ("ghost online", "ghost offline", "misrouted presence") if found[name]}  # fmt: skip


def out(since: float, until: float | None, *, device: int = WATCHER, lost: bool = False, **what: bool) -> Unreached:  # fmt: skip
    over = None if until is None else at(until)
    flags = {"untold": False, "unheard": False, **what}
    return Unreached(at(until or since), device, at(since), over, **flags, lost=lost)


GONE = Closed(at(20), USER, 1006, "server")
OFFLINE = PresenceSeen(at(45), WATCHER, "user", "offline", 2)


def test_who_could_not_be_told_is_excused_and_judged_again_ten_seconds_after() -> None:
    assert counts(GONE, out(19, 40, untold=True), OFFLINE) == {}
    assert counts(GONE, out(19, 34, untold=True), OFFLINE) == {"ghost online": 1}


def test_a_fault_that_is_not_over_excuses_to_the_end() -> None:
    assert counts(GONE, out(19, None, untold=True)) == {}


def test_the_last_word_of_a_fault_counts() -> None:
    assert counts(GONE, out(19, None, untold=True), out(19, 34, untold=True)) == {"ghost online": 1}


def test_that_others_can_not_be_told_excuses_nobody() -> None:
    assert counts(GONE, out(19, 60, device=USER, untold=True)) == {"ghost online": 1}


def test_who_went_while_nobody_could_hear_it_may_be_shown_until_the_fault_is_over() -> None:
    assert counts(GONE, out(19, 40, device=USER, unheard=True), OFFLINE) == {}
    assert counts(GONE, out(19, 34, device=USER, unheard=True), OFFLINE) == {"ghost online": 1}


def test_who_went_before_nobody_could_hear_them_is_not_excused() -> None:
    assert counts(GONE, out(21, 60, device=USER, unheard=True)) == {"ghost online": 1}


def test_a_lost_connection_excuses_no_longer_than_it_lasts() -> None:
    lost = out(19, 80, untold=True, lost=True)
    closed, again = Closed(at(30), WATCHER, 1006, "rig"), Opened(at(31), WATCHER, "s3", {}, {})
    seen = PresenceSeen(at(32), WATCHER, "user", "online", 5)
    assert counts(GONE, lost, closed, again, seen) == {"ghost online": 1}
    assert counts(GONE, lost) == {}


# Who may see whom: the user leaves with change 2, of which the watcher hears at 20 s.


def left(*, when: float = 20) -> tuple[AnyEvent, ...]:
    return (Page(at(when), 1, ROOM, 1, 2, ()), Removed(at(when), USER, ROOM, 2))


STAYS = (Stay(ROOM, "watcher", 0, None), Stay(ROOM, "user", 0, 2))


def test_who_has_left_everything_may_be_shown_as_gone() -> None:
    offline = PresenceSeen(at(20), WATCHER, "user", "offline", 2)
    assert counts(offline, *left(), stays=STAYS) == {}
    assert counts(offline, stays=(Stay(ROOM, "watcher", 0, None), Stay(ROOM, "user", 0, None))) == {
        "ghost offline": 1
    }


def test_who_is_shown_as_gone_long_before_they_leave_is_a_ghost() -> None:
    offline = PresenceSeen(at(20), WATCHER, "user", "offline", 2)
    assert counts(offline, *left(when=31), stays=STAYS) == {"ghost offline": 1}


def test_what_was_under_way_when_somebody_left_is_tolerated_and_nothing_later() -> None:
    late, later = (PresenceSeen(at(t), WATCHER, "user", "online", 2) for t in (25, 31))
    assert counts(*left(), late, stays=STAYS) == {}
    assert counts(*left(), later, stays=STAYS) == {"misrouted presence": 1}


def test_who_was_told_that_they_have_left_is_shown_nobody_from_then_on() -> None:
    shown = PresenceSeen(at(22), USER, "watcher", "online", 2)
    assert counts(*left(), shown, stays=STAYS) == {"misrouted presence": 1}


def test_who_was_never_in_a_conversation_with_somebody_is_not_shown_them() -> None:
    shown = PresenceSeen(at(30), WATCHER, "user", "online", 2)
    elsewhere = (Stay(ROOM, "watcher", 0, None), Stay("other", "user", 0, None))
    assert counts(shown, stays=elsewhere) == {"misrouted presence": 2}
