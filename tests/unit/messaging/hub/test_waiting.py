"""What is to be looked at: at once, or at one moment for each user."""

from __future__ import annotations

import pytest

from messaging.hub.waiting import LATE_S, LONG_S, SPENT, Due, Work
from messaging.protocol.frames import PresenceWatch
from tests.unit.messaging.hub.links import Seen


def test_user_is_due_at_the_moment_and_once() -> None:
    due = Due()
    due.note("ann", 10.0)
    assert list(due.take(10.0)) == []  # a timer may fire a little too early
    assert due.seconds(9.0) == pytest.approx(1.0 + LATE_S)
    assert list(due.take(10.0 + LATE_S)) == ["ann"]
    assert list(due.take(99.0)) == []
    assert due.seconds(99.0) is None


def test_newer_moment_replaces_the_older_one() -> None:
    due = Due()
    due.note("ann", 10.0)
    due.note("ann", 20.0)
    assert list(due.take(15.0)) == []
    assert list(due.take(21.0)) == ["ann"]
    due.note("bob", 20.0)
    due.note("bob", 10.0)
    assert list(due.take(15.0)) == ["bob"]
    assert list(due.take(25.0)) == []


def test_user_who_is_not_due_any_more_is_not_looked_at() -> None:
    due = Due()
    due.note("ann", 10.0)
    due.note("ann", None)
    due.note("nobody", None)
    assert list(due.take(99.0)) == []


def test_moment_that_is_computed_anew_costs_nothing() -> None:
    due = Due()
    for n in range(1_000):
        due.note("ann", 10.0 + n / 1e6)
    assert len(due._heap) == 1


def test_moments_that_were_replaced_are_not_kept_until_they_come() -> None:
    due = Due()
    due.note("bob", 5.0)
    for n in range(1_000):
        due.note("ann", 1e9 + n)
        due.note(f"{n}", 1e9)
        due.note(f"{n}", None)
    assert len(due._heap) <= SPENT * 3
    assert list(due.take(6.0)) == ["bob"]
    assert list(due.take(1e9 + 2_000)) == ["ann"]


def test_nobody_waits_for_longer_than_passes_do() -> None:
    due = Due()
    due.note("ann", 1e12)
    assert due.seconds(0.0) == LONG_S
    due.note("bob", 1.0)
    assert due.seconds(50.0) == 0.0


def test_work_that_failed_is_done_again_before_what_came_meanwhile() -> None:
    ann = Seen("ann")
    old, new = PresenceWatch(users=[]), PresenceWatch(users=["b"])
    work = Work(users={"b"}, circles={"d"}, entering={ann: {"d"}}, asked=[(ann, new)])
    work.add(Work(users={"a"}, circles={"c"}, entering={ann: {"c"}}, asked=[(ann, old)]))
    assert (work.users, work.circles, work.entering) == ({"a", "b"}, {"c", "d"}, {ann: {"c", "d"}})
    assert work.asked == [(ann, old), (ann, new)]
    assert work
    assert not Work()
