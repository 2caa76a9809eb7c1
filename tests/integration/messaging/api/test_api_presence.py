"""Presence over REST: of oneself and of whom one shares a conversation with."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from messaging.models import Membership
from presence.models import Connection, Node, Status
from tests.integration.messaging.api.conftest import Person


@pytest.fixture
def node(transactional_db: None) -> Node:
    return Node.objects.create(name="live", lease=Now() + timedelta(minutes=1))


def ask(who: Person, *whom: Person) -> dict[str, Any]:
    """What is shown, by user."""
    answer = who.call("GET", "/presence?" + "&".join(f"user={one.id}" for one in whom))
    assert answer.status == 200
    return {one["user"]: one for one in answer.json["users"]}


def test_one_sees_oneself_and_whom_one_shares_a_conversation_with(
    ann: Person, bob: Person, cid: Person, group: str, node: Node
) -> None:
    for person in (ann, bob, cid):
        Connection.objects.create(device=person.device, node=node)
    seen = ask(ann, ann, bob, cid)
    assert {user: one["state"] for user, one in seen.items()} == {
        ann.id: "online",
        bob.id: "online",
    }
    assert seen[ann.id]["devices"] == [{"device": str(ann.device.pk), "state": "online"}]
    assert seen[bob.id]["devices"] is None
    assert ask(cid, ann, bob) == {}


@pytest.mark.parametrize("leaver", ["ann", "bob"])
def test_whoever_left_is_seen_no_more_and_sees_nobody(
    ann: Person, bob: Person, group: str, leaver: str
) -> None:
    gone = {"ann": ann, "bob": bob}[leaver]
    Membership.objects.filter(conversation__pk=group, user=gone.user).delete()
    assert ask(ann, bob) == ask(bob, ann) == {}


def test_what_one_says_is_shown_until_it_ends(ann: Person, bob: Person, group: str) -> None:
    said = ann.call("PUT", "/presence", {"text": "lunch", "until": 4_000_000_000_000})
    assert (said.status, said.json["text"], said.json["until"]) == (200, "lunch", 4_000_000_000_000)
    assert ask(bob, ann)[ann.id]["text"] == "lunch"
    ann.call("PUT", "/presence", {"until": 1})
    assert ask(bob, ann)[ann.id]["text"] == ""
    ann.call("PUT", "/presence", {"text": "back"})
    seen = ask(bob, ann)[ann.id]
    assert (seen["text"], seen["until"]) == ("back", None)


def test_whoever_is_invisible_is_offline_to_everyone_else(
    ann: Person, bob: Person, group: str, node: Node
) -> None:
    Connection.objects.create(device=ann.device, node=node, state="away")
    ann.call("PUT", "/presence", {"text": "hidden"})
    said = ann.call("PUT", "/presence", {"invisible": True}).json
    assert (said["state"], said["text"], said["invisible"]) == ("away", "hidden", True)
    seen = ask(bob, ann)[ann.id]
    nothing = {"text": "", "until": None, "last_seen": None, "invisible": False, "devices": None}
    assert seen == {"user": ann.id, "state": "offline", **nothing}


def test_a_device_says_how_it_is_here(ann: Person, node: Node) -> None:
    laptop = ann.another_device()
    Connection.objects.create(device=laptop.device, node=node, state="away")
    listed = ann.call("GET", "/devices").json["devices"]
    assert {one["name"]: one["state"] for one in listed} == {"phone": "offline", "laptop": "away"}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "give text, until or invisible"),
        ({"state": "away"}, "body.state"),
        ({"text": "x" * 141}, "body.text"),
        ({"text": "\x00"}, "NUL"),
        ({"text": "x", "until": -1}, "body.until"),
        ({"text": "x", "until": 2**60}, "body.until"),
        ({"until": "5"}, "body.until"),
        ({"invisible": 0}, "body.invisible"),
    ],
)
def test_what_cannot_be_said_is_refused(ann: Person, given: dict[str, Any], reason: str) -> None:
    answer = ann.call("PUT", "/presence", given)
    assert (answer.status, answer.code) == (422, "invalid_request")
    assert reason in answer.json["message"]
    assert not Status.objects.exists()


@pytest.mark.parametrize("query", ["", "?user=nobody", "?" + "&".join(["user=" + "0" * 32] * 201)])
def test_who_is_asked_for_must_be_said(ann: Person, query: str) -> None:
    answer = ann.call("GET", "/presence" + query)
    assert (answer.status, answer.code) == (422, "invalid_request")
