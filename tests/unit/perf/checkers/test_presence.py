"""Who counts as here: what only the server can know is held against nobody, everything else is."""

from perf.checkers import Judgement, judge
from perf.history.events import (
    AnyEvent,
    Closed,
    Cursors,
    DeviceMade,
    Greeted,
    Opened,
    PresenceSeen,
    PresenceStale,
    RunBegan,
    RunEnded,
    Stay,
)
from perf.history.reader import gather

SECOND = 1_000_000_000
WATCHER, USER = 1, 2


def at(seconds: float) -> int:
    return int(seconds * SECOND)


def ghosts(*events: AnyEvent, until: float = 60) -> tuple[int, int]:
    """How many views were convicted: of those who had gone, and of those who were here."""
    counts = judged(*events, until=until).counts
    return counts["ghost online"], counts["ghost offline"]


def judged(*events: AnyEvent, until: float = 60) -> Judgement:
    begin: list[AnyEvent] = [
        RunBegan(0, "run", "test", 0),
        DeviceMade(0, WATCHER, "d1", "watcher"),
        DeviceMade(0, USER, "d2", "user"),
        Greeted(0, WATCHER),
        Opened(1, WATCHER, "s1", {}, {}),
        Greeted(1, USER),
        Opened(2, USER, "s2", {}, {}),
        PresenceSeen(3, WATCHER, "user", "online", 1),
    ]
    end = [
        Cursors(at(until), number, {}, connected=number == WATCHER) for number in (WATCHER, USER)
    ]
    return judge(gather([[*begin, *events, *end, RunEnded(at(until + 1))]], []))


def test_who_is_shown_for_long_after_the_connection_ended_is_a_ghost() -> None:
    assert ghosts(Closed(at(20), USER, 1006, "server")) == (1, 0)


def test_between_hello_and_welcome_neither_view_is_wrong() -> None:
    ended, greeted = Closed(at(20), USER, 1006, "server"), Greeted(at(25), USER)
    offline = PresenceSeen(at(40), WATCHER, "user", "offline", 2)
    back = PresenceSeen(at(51), WATCHER, "user", "online", 3)
    welcome = Opened(at(50), USER, "s3", {}, {})
    assert ghosts(ended, greeted, offline, welcome, back) == (0, 0)


def test_a_hello_that_came_to_nothing_excuses_no_longer_than_its_connection() -> None:
    ended, greeted = Closed(at(20), USER, 1006, "server"), Greeted(at(25), USER)
    assert ghosts(ended, greeted, Closed(at(35), USER, 1006, "rig")) == (1, 0)


def test_what_is_said_to_be_stale_is_no_view() -> None:
    ended = Closed(at(20), USER, 1006, "server")
    stale, fresh = PresenceStale(at(22), WATCHER, True), PresenceStale(at(45), WATCHER, False)
    offline = PresenceSeen(at(50), WATCHER, "user", "offline", 2)
    assert ghosts(ended, stale, fresh, offline) == (0, 0)


def test_what_was_stale_and_is_not_any_more_is_a_view_again() -> None:
    ended = Closed(at(20), USER, 1006, "server")
    stale, fresh = PresenceStale(at(22), WATCHER, True), PresenceStale(at(45), WATCHER, False)
    assert ghosts(ended, stale, fresh) == (1, 0)


def test_a_session_that_ended_stale_excuses_none_after_it() -> None:
    ended = Closed(at(5), USER, 1006, "server")
    stale, lost = PresenceStale(at(6), WATCHER, True), Closed(at(8), WATCHER, 1006, "rig")
    hello, again = Greeted(at(9), WATCHER), Opened(at(10), WATCHER, "s4", {}, {})
    seen = PresenceSeen(at(11), WATCHER, "user", "online", 5)
    assert ghosts(ended, stale, lost, hello, again, seen) == (1, 0)


def test_a_view_is_tested_only_where_it_could_have_been_wrong_for_too_long() -> None:
    gone = Closed(at(20), USER, 1006, "server")
    offline = PresenceSeen(at(21), WATCHER, "user", "offline", 2)
    for until, tested in ((9.0, (0, 0)), (29.0, (0, 1)), (31.0, (1, 1))):
        events = (gone, offline) if until > 20 else ()
        checked = judged(*events, until=until).checked
        assert (checked["ghost online"], checked["ghost offline"]) == tested


def test_who_shares_a_conversation_that_was_silent_for_long_is_no_stranger() -> None:
    stays = [Stay("room", "watcher", 1, None), Stay("room", "user", 2, None)]
    begin = [RunBegan(0, "run", "test", 0), DeviceMade(0, WATCHER, "d1", "watcher")]
    seen = PresenceSeen(at(2), WATCHER, "user", "online", 1)

    def strangers(told_at: float) -> int:
        cursor = {"room": 2}
        first = Opened(at(1), WATCHER, "s1", {}, cursor if told_at == 1 else {})
        gone, back = Closed(at(49), WATCHER, 1006, "rig"), Opened(at(50), WATCHER, "s2", {}, cursor)
        events = [*begin, Greeted(0, WATCHER), first, seen, gone, back, RunEnded(at(60))]
        return judge(gather([events], stays)).counts["misrouted presence"]

    assert strangers(told_at=1) == 0  # both had joined by then, though no message ever came
    assert strangers(told_at=50) == 1
