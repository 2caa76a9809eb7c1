"""Conversations over REST: found, opened, retitled, paged; and the users to open them with."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from django.db import connections

from messaging.models import Conversation, Membership, Message, Receipt
from presence.models import User

if TYPE_CHECKING:
    from tests.integration.messaging.api.conftest import Person

pytestmark = pytest.mark.usefixtures("transactional_db")


def test_a_new_user_has_the_self_conversation(ann: Person) -> None:
    [mine] = ann.call("GET", "/conversations").json["conversations"]
    assert (mine["kind"], mine["conversation"], mine["peer"]) == ("self", ann.id, None)


def test_a_group_is_opened_with_its_members_and_the_opener_as_admin(
    ann: Person, bob: Person, cid: Person
) -> None:
    members = [{"username": "bob"}, {"user": cid.id, "role": "admin"}, {"user": ann.id}]
    opened = ann.call("POST", "/conversations", {"title": "Room", "members": members})
    assert opened.status == 201
    room = opened.json
    assert (room["kind"], room["title"], room["role"], room["last_seq"]) == (
        "group",
        "Room",
        "admin",
        3,
    )
    listed = ann.call("GET", f"/conversations/{room['conversation']}/members").json["members"]
    assert {one["username"]: one["role"] for one in listed} == {
        "ann": "admin",
        "bob": "member",
        "cid": "admin",
    }
    assert room["conversation"] in [
        one["conversation"] for one in bob.call("GET", "/conversations").json["conversations"]
    ]


def test_a_group_is_opened_once_however_often_it_is_asked_for_under_one_key(
    ann: Person, bob: Person
) -> None:
    asked = {"client_id": "k", "title": "Room", "members": [{"user": bob.id}]}
    first = ann.call("POST", "/conversations", asked)
    User.objects.filter(pk=bob.user.pk).update(is_active=False)  # who could not be invited any more
    again = ann.call("POST", "/conversations", asked)
    assert (first.status, again.status) == (201, 200)
    assert first.json == again.json
    other = ann.call("POST", "/conversations", asked | {"title": "Another"})
    assert (other.status, other.code) == (409, "client_id_reused")


def test_a_key_is_of_one_device_as_with_messages(ann: Person) -> None:
    opened = {
        who.call("POST", "/conversations", {"client_id": "k"}).json["conversation"]
        for who in (ann, ann.another_device())
    }
    assert len(opened) == 2


def test_a_group_that_is_asked_for_twice_at_the_same_moment_is_one(ann: Person) -> None:
    def open_group(_: int) -> tuple[int, str]:
        try:
            answer = ann.call("POST", "/conversations", {"client_id": "k", "title": "Room"})
            return answer.status, str(answer.json["conversation"])
        finally:
            connections.close_all()

    with ThreadPoolExecutor(max_workers=4) as threads:
        opened = list(threads.map(open_group, range(8)))
    assert len({conversation for _, conversation in opened}) == 1
    assert sorted(status for status, _ in opened) == [200] * 7 + [201]
    assert len(ann.call("GET", f"/conversations/{opened[0][1]}/members").json["members"]) == 1


def test_a_pair_has_one_direct_conversation_whoever_opens_it(ann: Person, bob: Person) -> None:
    first = ann.call("POST", "/conversations", {"kind": "direct", "members": [{"user": bob.id}]})
    again = bob.call("POST", "/conversations", {"kind": "direct", "members": [{"username": "ann"}]})
    assert (first.status, again.status) == (201, 200)
    assert first.json["conversation"] == again.json["conversation"]
    assert first.json["peer"] == {"user": bob.id, "username": "bob"}
    assert again.json["peer"] == {"user": ann.id, "username": "ann"}


def test_a_pair_that_opens_at_the_same_moment_gets_one_conversation(
    ann: Person, bob: Person
) -> None:
    def open_direct(pair: tuple[Person, Person]) -> str:
        try:
            body = {"kind": "direct", "members": [{"user": pair[1].id}]}
            return str(pair[0].call("POST", "/conversations", body).json["conversation"])
        finally:
            connections.close_all()

    with ThreadPoolExecutor(max_workers=4) as threads:
        opened = set(threads.map(open_direct, [(ann, bob), (bob, ann)] * 4))
    assert len(opened) == 1
    assert Membership.objects.filter(conversation_id=opened.pop()).count() == 2


def test_nobody_opens_a_direct_conversation_with_oneself_or_with_nobody(ann: Person) -> None:
    for member, code in (
        ({"user": ann.id}, "invalid_request"),
        ({"user": str(uuid4())}, "no_such_user"),
    ):
        body = {"kind": "direct", "members": [member]}
        assert ann.call("POST", "/conversations", body).code == code
    assert Conversation.objects.count() == 1


def test_an_admin_changes_title_and_history_and_the_title_becomes_an_event(
    ann: Person, group: str
) -> None:
    changed = ann.call(
        "PATCH", f"/conversations/{group}", {"title": "New", "history": "since_joined"}
    )
    assert changed.status == 200
    assert (changed.json["title"], changed.json["history"]) == ("New", "since_joined")
    newest = Message.objects.filter(conversation_id=group).order_by("seq").last()
    assert newest is not None
    assert newest.kind == "system"
    assert "New" in newest.body


def test_only_an_admin_changes_a_group_and_nobody_a_self_conversation(
    ann: Person, bob: Person, cid: Person, group: str
) -> None:
    path, change = f"/conversations/{group}", {"title": "New"}
    assert bob.call("PATCH", path, change).code == "not_allowed"
    assert cid.call("PATCH", path, change).code == "no_such_conversation"
    assert ann.call("PATCH", f"/conversations/{ann.id}", change).code == "not_allowed"


def test_a_stranger_sees_nothing_of_a_conversation(cid: Person, group: str) -> None:
    for path in ("", "/members", "/messages"):
        refused = cid.call("GET", f"/conversations/{group}{path}")
        assert (refused.status, refused.code) == (404, "no_such_conversation")


def test_a_former_member_still_sees_the_conversation_and_where_the_stay_ended(
    bob: Person, group: str
) -> None:
    left = bob.call("DELETE", f"/conversations/{group}/members/{bob.id}").json
    assert bob.call("GET", f"/conversations/{group}").json["left_seq"] == left["left_seq"]
    listed = bob.call("GET", "/conversations").json["conversations"]
    assert group not in [one["conversation"] for one in listed]
    assert bob.call("GET", f"/conversations/{group}/members").code == "no_such_conversation"


def test_a_former_member_is_told_nothing_of_afterwards(
    ann: Person, bob: Person, group: str
) -> None:
    left = bob.call("DELETE", f"/conversations/{group}/members/{bob.id}").json["left_seq"]
    known = bob.call("GET", f"/conversations/{group}").json
    assert (known["title"], known["last_seq"]) == ("Room", left)
    ann.call("PATCH", f"/conversations/{group}", {"title": "Without Bob"})
    now = bob.call("GET", f"/conversations/{group}").json
    assert (now["title"], now["last_seq"]) == ("", left)
    assert ann.call("GET", f"/conversations/{group}").json["title"] == "Without Bob"


def test_what_any_own_device_has_read_is_shown(ann: Person, group: str) -> None:
    for device, read in ((ann.device, 1), (ann.another_device().device, 2)):
        Receipt.objects.update_or_create(
            device=device, conversation_id=group, defaults={"delivered": 2, "read": read}
        )
    assert ann.call("GET", f"/conversations/{group}").json["read"] == 2


def test_pages_of_conversations_join_without_gap_or_repeat(ann: Person) -> None:
    for n in range(4):
        ann.call("POST", "/conversations", {"title": str(n)})
    whole = [one["conversation"] for one in ann.call("GET", "/conversations").json["conversations"]]
    paged: list[str] = []
    after: str | None = ""
    while after is not None:
        page = ann.call("GET", f"/conversations?limit=2{after and f'&after={after}'}").json
        paged += [one["conversation"] for one in page["conversations"]]
        after = page["after"]
    assert paged == whole
    assert len(whole) == 5


def test_users_are_found_by_a_part_of_their_name_unless_inactive(ann: Person, bob: Person) -> None:
    assert ann.call("GET", "/users?search=BO").json["users"] == [
        {"user": bob.id, "username": "bob"}
    ]
    bob.user.is_active = False
    bob.user.save()
    assert ann.call("GET", "/users?search=bo").json["users"] == []
