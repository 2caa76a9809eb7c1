"""Members of groups over REST: who may change them, and what the conversation tells of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from django.db import connections

from messaging.api import members
from messaging.api.access import present_in, writing
from messaging.api.auth import DeviceRequest
from messaging.models import Membership, Message

if TYPE_CHECKING:
    from tests.integration.messaging.api.conftest import Person

pytestmark = pytest.mark.usefixtures("transactional_db")


def last_event(group: str) -> tuple[str, str]:
    """What the newest system message says happened, and to whom."""
    newest = Message.objects.filter(conversation_id=group).latest("seq")
    body = json.loads(newest.body)
    return body["event"], body["name"]


def test_an_admin_adds_promotes_and_removes_a_member_and_each_is_an_event(
    ann: Person, cid: Person, group: str
) -> None:
    members = f"/conversations/{group}/members"
    added = ann.call("POST", members, {"username": "cid"})
    assert (added.status, added.json["role"], added.json["joined_seq"]) == (201, "member", 3)
    assert last_event(group) == ("joined", "cid")
    promoted = ann.call("PATCH", f"{members}/{cid.id}", {"role": "admin"})
    assert promoted.json["role"] == "admin"
    assert last_event(group) == ("role", "cid")
    removed = ann.call("DELETE", f"{members}/{cid.id}")
    assert removed.json == {"user": cid.id, "left_seq": 5}
    assert last_event(group) == ("left", "cid")


def test_adding_a_member_again_changes_nothing(ann: Person, bob: Person, group: str) -> None:
    again = ann.call("POST", f"/conversations/{group}/members", {"user": bob.id, "role": "admin"})
    assert (again.status, again.json["role"]) == (200, "member")
    assert Message.objects.filter(conversation_id=group).count() == 2


def test_someone_who_left_comes_back_with_a_new_stay(ann: Person, bob: Person, group: str) -> None:
    members = f"/conversations/{group}/members"
    assert bob.call("DELETE", f"{members}/{bob.id}").status == 200
    assert ann.call("POST", members, {"user": bob.id}).status == 201
    assert Membership.objects.filter(conversation_id=group, user=bob.user).count() == 2
    assert bob.call("GET", f"/conversations/{group}").json["left_seq"] is None


def test_only_admins_manage_members_but_anyone_may_leave(
    ann: Person, bob: Person, cid: Person, group: str
) -> None:
    members = f"/conversations/{group}/members"
    assert bob.call("POST", members, {"user": cid.id}).code == "not_allowed"
    assert bob.call("PATCH", f"{members}/{bob.id}", {"role": "admin"}).code == "not_allowed"
    assert bob.call("DELETE", f"{members}/{ann.id}").code == "not_allowed"
    assert cid.call("DELETE", f"{members}/{cid.id}").code == "no_such_conversation"
    assert bob.call("DELETE", f"{members}/{bob.id}").status == 200
    assert bob.call("DELETE", f"{members}/{bob.id}").code == "no_such_conversation"


def test_someone_who_is_no_member_is_neither_promoted_nor_removed(
    ann: Person, cid: Person, group: str
) -> None:
    path = f"/conversations/{group}/members/{cid.id}"
    assert ann.call("PATCH", path, {"role": "admin"}).code == "no_such_member"
    assert ann.call("DELETE", path).code == "no_such_member"


def test_a_direct_and_a_self_conversation_keep_their_members(
    ann: Person, bob: Person, cid: Person
) -> None:
    body = {"kind": "direct", "members": [{"user": bob.id}]}
    direct = ann.call("POST", "/conversations", body).json["conversation"]
    for conversation in (direct, ann.id):
        members = f"/conversations/{conversation}/members"
        assert ann.call("POST", members, {"user": cid.id}).code == "not_allowed"
        assert ann.call("DELETE", f"{members}/{ann.id}").code == "not_allowed"


def test_pages_of_members_join_without_gap_or_repeat(
    ann: Person, bob: Person, cid: Person, group: str
) -> None:
    members = f"/conversations/{group}/members"
    ann.call("POST", members, {"user": cid.id})
    first = ann.call("GET", f"{members}?limit=2").json
    second = ann.call("GET", f"{members}?limit=2&after={first['after']}").json
    assert second["after"] is None
    names = [one["username"] for page in (first, second) for one in page["members"]]
    assert sorted(names) == ["ann", "bob", "cid"]


def test_of_two_admins_who_demote_each_other_at_once_one_stays_admin(
    ann: Person, bob: Person, group: str
) -> None:
    members = f"/conversations/{group}/members"
    ann.call("PATCH", f"{members}/{bob.id}", {"role": "admin"})

    def demote(pair: tuple[Person, Person]) -> int:
        try:
            return pair[0].call("PATCH", f"{members}/{pair[1].id}", {"role": "member"}).status
        finally:
            connections.close_all()

    with ThreadPoolExecutor(max_workers=2) as threads:
        assert sorted(threads.map(demote, [(ann, bob), (bob, ann)])) == [200, 403]


def test_who_is_removed_while_they_read_the_members_is_not_shown_who_came_then(
    ann: Person, bob: Person, cid: Person, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked_up_before(conversation: UUID, request: DeviceRequest) -> Membership:
        stay = present_in(conversation, request)
        Membership.objects.filter(pk=stay.pk).update(left_seq=0)
        Membership.objects.create(conversation_id=conversation, user=cid.user)
        return stay

    monkeypatch.setattr(members, "present_in", looked_up_before)
    assert cid.id not in str(bob.call("GET", f"/conversations/{group}/members").json)


def test_a_promotion_is_answered_although_the_member_leaves_right_after_it(
    ann: Person, bob: Person, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def writing_then_bob_leaves(request: DeviceRequest, conversation: UUID) -> Iterator[None]:
        with writing(request, conversation):
            yield
        Membership.objects.filter(conversation=conversation, user=bob.user).update(left_seq=0)

    monkeypatch.setattr(members, "writing", writing_then_bob_leaves)
    promoted = ann.call("PATCH", f"/conversations/{group}/members/{bob.id}", {"role": "admin"})
    assert (promoted.status, promoted.json["role"]) == (200, "admin")
