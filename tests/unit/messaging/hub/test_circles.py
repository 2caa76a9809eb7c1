"""Circles say who may see whom, and when they have to be read again."""

from __future__ import annotations

from typing import Any

from messaging.hub.circles import Circles
from tests.unit.messaging.hub.links import Seen


def test_members_see_each_other_and_nobody_sees_themselves() -> None:
    circles, ann, bob = Circles(), Seen("ann"), Seen("bob")
    circles.open("c", {ann, bob})
    circles.put("c", {"ann": 1, "bob": 1, "cas": 1})
    assert circles.viewers("bob") == {ann}
    assert circles.viewers("cas") == {ann, bob}
    assert circles.viewers("stranger") == set()


def test_session_of_nobody_in_the_circle_sees_nobody() -> None:
    """It follows the conversation still, for its user's end is not here yet."""
    circles, gone = Circles(), Seen("gone")
    circles.open("c", {gone})
    circles.put("c", {"bob": 1})
    assert circles.viewers("bob") == set()


def test_new_reading_tells_who_came_and_who_went() -> None:
    circles = Circles()
    circles.open("c", set())
    first = circles.put("c", {"ann": 1, "bob": 1})
    second = circles.put("c", {"bob": 2, "cas": 1})
    assert first is not None
    assert second is not None
    assert (first.came, first.went) == ({"ann", "bob"}, set())
    assert (second.came, second.went) == ({"cas"}, {"ann"})
    assert sorted(circles.users) == ["bob", "cas"]
    assert "ann" not in circles


def test_reading_of_a_circle_that_is_gone_is_nothing() -> None:
    circles = Circles()
    circles.open("c", set())
    circles.drop("c")
    assert circles.put("c", {"ann": 1}) is None
    assert circles.drop("c") == set()


def test_dropped_circle_names_who_is_in_no_other() -> None:
    circles = Circles()
    for key, members in (("a", {"ann": 1, "bob": 1}), ("b", {"bob": 1})):
        circles.open(key, set())
        circles.put(key, members)
    assert circles.drop("a") == {"ann"}
    assert circles.users == ["bob"]


def test_circle_is_outdated_when_anybody_in_it_has_another_version() -> None:
    circles = Circles()
    for key, members in (("a", {"ann": 1, "bob": 4}), ("b", {"bob": 4, "cas": 1})):
        circles.open(key, set())
        circles.put(key, members)
    assert circles.outdated({"ann": 1, "bob": 4, "stranger": 9}) == set()
    assert circles.outdated({"ann": 2}) == {"a"}
    assert circles.outdated({"bob": 5}) == {"a", "b"}


def test_watch_list_is_a_circle_of_one_session_and_names_its_user_first() -> None:
    circles, ann = Circles(), Seen("ann")
    circles.open("c", {ann})
    circles.open(ann, {ann}, asked=("bob", "cas"))
    assert list(circles.lists(["c", ann, Seen("closed")])) == [(ann, ("ann", "bob", "cas"))]
    circles.put(ann, {"ann": 1, "bob": 1})
    assert circles.viewers("bob") == {ann}
    circles.open(ann, {ann}, asked=("cas",))
    assert list(circles.lists([ann])) == [(ann, ("ann", "cas"))]


def test_another_circle_keeps_a_user_in_sight() -> None:
    circles, ann = Circles(), Seen("ann")
    both: Any = {"ann": 1, "bob": 1}
    one, two = circles.open("a", {ann}), circles.open("b", {ann})
    circles.put("a", both)
    assert not circles.sees(ann, "bob", other_than=one)
    circles.put("b", both)
    assert circles.sees(ann, "bob", other_than=one)
    two.links.clear()
    assert not circles.sees(ann, "bob", other_than=one)
