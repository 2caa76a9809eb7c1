"""Messages over REST: written through the journal, read as far as the stay allows."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from messaging.api import messages
from messaging.api.access import stay_in
from messaging.api.auth import DeviceRequest
from messaging.models import Membership, Message
from messaging.protocol import frames
from tests import scene

if TYPE_CHECKING:
    from tests.integration.messaging.api.conftest import Answer, Person

pytestmark = [pytest.mark.usefixtures("transactional_db"), pytest.mark.usefixtures("running")]


# Sessions that wait for the lock of the one that asks.
WAITING = """
SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))
"""


async def say(person: Person, group: str, body: str = "hello", **more: Any) -> Answer:
    """Send; the client_id is the body unless given."""
    message = {"client_id": body[:64], "body": body, **more}
    return await person.acall("POST", f"/conversations/{group}/messages", message)


async def bodies(person: Person, group: str, query: str = "") -> list[str]:
    """The page as bodies, newest first, without system messages."""
    page = await person.acall("GET", f"/conversations/{group}/messages{query}")
    return [one["body"] for one in page.json["messages"] if one["kind"] != "system"]


async def test_a_sent_message_is_committed_and_read_by_the_other(
    ann: Person, bob: Person, group: str
) -> None:
    sent = await say(ann, group)
    assert sent.status == 201
    stored = await Message.objects.aget(pk=sent.json["message"])
    assert sent.json == {
        "client_id": "hello",
        "message": str(stored.pk),
        "seq": 3,
        "position": 3,
        "version": 1,
        "created": sent.json["created"],
    }
    shown = (await bob.acall("GET", f"/messages/{stored.pk}")).json
    assert shown["body"] == "hello"
    assert (shown["user"], shown["device"]) == (ann.id, str(ann.device.pk))


async def test_a_send_that_waits_for_a_locked_conversation_keeps_no_connection_of_the_pool_from_others(
    ann: Person, group: str
) -> None:
    """Eight of them, and nobody else's call got one until the lock was given up on."""
    with scene.connect() as holder:
        holder.execute("BEGIN")
        holder.execute("SELECT FROM messaging_conversation WHERE id = %s FOR UPDATE", [group])
        sending = asyncio.create_task(say(ann, group))
        await scene.eventually(lambda: holder.execute(WAITING.encode()).fetchone() is not None)
        held = await sync_to_async(lambda: connection.connection)()
        holder.execute("COMMIT")
    assert (await sending).status == 201
    assert held is None


async def test_a_site_with_atomic_requests_is_served(
    ann: Person, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django has no such transaction for a view in the loop: sends and pages of messages were its errors."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    sent = await say(ann, group)
    page = await ann.acall("GET", f"/conversations/{group}/messages")
    assert (sent.status, page.json["messages"][0]["body"]) == (201, "hello")


async def test_a_message_reads_as_on_the_socket(ann: Person, bob: Person, group: str) -> None:
    first = (await say(ann, group)).json["message"]
    reply = (await say(bob, group, "[1]", kind="data", reply_to=first)).json["message"]
    shown = (await ann.acall("GET", f"/messages/{reply}")).json
    row = await Message.objects.aget(pk=reply)
    wire = msgspec.convert(shown, frames.Message)
    assert shown == {"version": 1} | msgspec.to_builtins(wire)
    assert (wire.kind, wire.reply_to, wire.client_id) == ("data", first, "[1]")
    assert abs(wire.created - row.created.timestamp() * 1000) <= 1


async def test_a_repeat_gets_the_first_result_and_another_body_is_refused(
    ann: Person, group: str
) -> None:
    first = await say(ann, group, client_id="k")
    again = await say(ann, group, client_id="k")
    assert (first.status, again.status) == (201, 200)
    assert again.json == first.json
    other = await say(ann, group, "other", client_id="k")
    assert (other.status, other.code) == (409, "client_id_reused")


async def test_a_hundred_sends_at_once_are_all_stored_without_a_hole(
    ann: Person, group: str
) -> None:
    sent = await asyncio.gather(*(say(ann, group, str(n)) for n in range(100)))
    assert sorted(one.json["seq"] for one in sent) == list(range(3, 103))


async def test_a_client_that_hangs_up_does_not_cancel_its_message(ann: Person, group: str) -> None:
    known = connection.get_connection_params()
    place = {
        key: known[key] for key in ("dbname", "user", "password", "host", "port") if key in known
    }
    async with await psycopg.AsyncConnection.connect(**place) as holder:
        await holder.execute("SELECT FROM messaging_conversation WHERE id = %s FOR UPDATE", [group])
        call = asyncio.create_task(say(ann, group))
        while (await (await holder.execute(WAITING)).fetchone()) is None:
            assert not call.done()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    assert (await say(ann, group)).status == 200  # a repeat: the first one is stored


@pytest.mark.parametrize(
    ("message", "status", "code"),
    [
        ({"body": "x" * 65_536}, 201, ""),
        ({"body": "x" * 65_537}, 413, "too_large"),
        ({"body": "ü" * 32_769}, 413, "too_large"),
        ({"body": "a\x00b"}, 422, "invalid_body"),
        ({"body": "\ud800"}, 422, "invalid_body"),
        ({"body": "{", "kind": "data"}, 422, "invalid_body"),
        ({"body": "x", "kind": "system"}, 422, "invalid_request"),
        ({"body": "x", "client_id": ""}, 422, "invalid_request"),
        ({"body": "x", "client_id": "y" * 65}, 422, "invalid_request"),
        ({"body": "x", "client_id": "a\x00"}, 422, "invalid_request"),
        ({"body": "x", "reply_to": str(uuid4())}, 404, "no_such_message"),
        ({"body": 1}, 422, "invalid_request"),
        ({}, 422, "invalid_request"),
    ],
)
async def test_what_cannot_be_stored_is_refused(
    ann: Person, group: str, message: dict[str, Any], status: int, code: str
) -> None:
    path = f"/conversations/{group}/messages"
    answer = await ann.acall("POST", path, {"client_id": "k", **message})
    assert answer.status == status
    assert not code or answer.code == code


async def test_an_edit_and_a_delete_need_the_version_that_is_there(ann: Person, group: str) -> None:
    message = (await say(ann, group)).json["message"]
    edit = {"client_id": "e", "body": "better", "base_version": 1}
    edited = await ann.acall("PATCH", f"/messages/{message}", edit)
    assert (edited.status, edited.json["version"], edited.json["position"]) == (200, 2, 3)
    repeated = await ann.acall("PATCH", f"/messages/{message}", edit)
    assert repeated.json == edited.json
    stale = await ann.acall("DELETE", f"/messages/{message}?base_version=1&client_id=d")
    assert (stale.status, stale.code) == (409, "conflict")
    assert stale.json["current"]["body"] == "better"
    gone = await ann.acall("DELETE", f"/messages/{message}?base_version=2&client_id=d")
    assert (gone.status, gone.json["version"], gone.json["seq"]) == (200, 3, 5)
    tombstone = (await ann.acall("GET", f"/messages/{message}")).json
    assert tombstone["body"] == ""
    covered = await ann.acall("PATCH", f"/messages/{message}", edit)
    assert (covered.code, covered.json["definite"]) == ("conflict", False)
    assert tombstone["deleted"] >= tombstone["edited"]


async def test_only_the_author_edits_and_the_author_or_an_admin_deletes(
    ann: Person, bob: Person, group: str
) -> None:
    by_ann, by_bob = [
        (await say(one, group, name)).json["message"] for one, name in ((ann, "a"), (bob, "b"))
    ]
    edit = {"client_id": "e", "body": "x", "base_version": 1}
    assert (await ann.acall("PATCH", f"/messages/{by_bob}", edit)).code == "forbidden"
    query = "?base_version=1&client_id=d"
    assert (await bob.acall("DELETE", f"/messages/{by_ann}{query}")).code == "forbidden"
    assert (await ann.acall("DELETE", f"/messages/{by_bob}{query}")).status == 200


@pytest.mark.parametrize("version", ["1", True, 0])
async def test_a_version_is_a_whole_number_as_the_document_says(
    ann: Person, group: str, version: object
) -> None:
    message = (await say(ann, group)).json["message"]
    edit = {"client_id": "e", "body": "x", "base_version": version}
    assert (await ann.acall("PATCH", f"/messages/{message}", edit)).code == "invalid_request"


async def test_a_stranger_neither_writes_nor_reads(cid: Person, ann: Person, group: str) -> None:
    message = (await say(ann, group)).json["message"]
    assert (await say(cid, group)).code == "no_such_conversation"
    assert (await cid.acall("GET", f"/messages/{message}")).code == "no_such_message"
    assert (await cid.acall("GET", f"/messages/{uuid4()}")).code == "no_such_message"
    edit = {"client_id": "e", "body": "x", "base_version": 1}
    assert (await cid.acall("PATCH", f"/messages/{message}", edit)).code == "no_such_message"


async def test_pages_go_back_by_position_without_gap_or_repeat(ann: Person, group: str) -> None:
    for n in range(5):
        await say(ann, group, str(n))
    paged, query = [], "?limit=2"
    while query:
        page = (await ann.acall("GET", f"/conversations/{group}/messages{query}")).json
        paged += [one["position"] for one in page["messages"]]
        query = f"?limit=2&before={page['before']}" if "before" in page else ""
    assert paged == [7, 6, 5, 4, 3, 2, 1]


async def test_an_edited_message_keeps_its_place_in_the_pages(ann: Person, group: str) -> None:
    first = (await say(ann, group, "one")).json["message"]
    await say(ann, group, "two")
    edit = {"client_id": "e", "body": "first", "base_version": 1}
    await ann.acall("PATCH", f"/messages/{first}", edit)
    assert await bodies(ann, group) == ["two", "first"]


async def test_a_former_member_reads_what_stood_when_they_left(
    ann: Person, bob: Person, group: str
) -> None:
    kept = (await say(ann, group, "kept")).json["message"]
    changed = (await say(ann, group, "changed")).json["message"]
    await bob.acall("DELETE", f"/conversations/{group}/members/{bob.id}")
    later = (await say(ann, group, "later")).json["message"]
    edit = {"client_id": "e", "body": "secret", "base_version": 1}
    await ann.acall("PATCH", f"/messages/{changed}", edit)
    assert await bodies(bob, group) == ["kept"]
    for message, status in ((kept, 200), (changed, 404), (later, 404)):
        assert (await bob.acall("GET", f"/messages/{message}")).status == status
    assert (await say(bob, group, "x")).code == "no_such_conversation"


@pytest.mark.parametrize("gone", [False, True])
async def test_a_page_of_long_messages_is_short_and_none_is_left_out(
    ann: Person, bob: Person, group: str, gone: bool
) -> None:
    """Two hundred of the longest were 13 MiB, which 128 calls may hold at a time."""
    for n in range(11):
        assert (await say(ann, group, chr(97 + n) * 65_536)).status == 201
    if gone:  # what follows is not counted
        await bob.acall("DELETE", f"/conversations/{group}/members/{bob.id}")
        for n in range(5):
            await say(ann, group, f"{n}" * 65_536)
    read, before, pages = "", "", 0
    while before is not None:
        page = (await bob.acall("GET", f"/conversations/{group}/messages{before}")).json
        said = [one["body"] for one in page["messages"] if one["kind"] != "system"]
        assert sum(map(len, said)) < 2 * messages.PAGE_BYTES
        read += "".join(body[0] for body in said)
        before = f"?before={page['before']}" if "before" in page else None
        pages += 1
    assert (read, pages) == ("kjihgfedcba", 3)


@pytest.mark.parametrize("path", ["conversations/{group}/messages", "messages/{message}"])
async def test_who_is_removed_while_they_read_is_not_shown_what_follows(
    ann: Person, bob: Person, group: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """The stay was looked up; it ends, and a message follows, before the messages are read."""
    message = (await say(ann, group, "first")).json["message"]

    def looked_up_before(conversation: UUID, request: DeviceRequest) -> Membership:
        stay = stay_in(conversation, request)
        Membership.objects.filter(pk=stay.pk).update(left_seq=0)
        Message.objects.filter(pk=message).update(body="after the fence")
        return stay

    monkeypatch.setattr(messages, "stay_in", looked_up_before)
    read = await bob.acall("GET", "/" + path.format(group=group, message=message))
    assert "after the fence" not in str(read.json)


async def test_history_since_joined_hides_what_was_said_before(
    ann: Person, cid: Person, group: str
) -> None:
    before = (await say(ann, group, "before")).json["message"]
    await ann.acall("PATCH", f"/conversations/{group}", {"history": "since_joined"})
    await ann.acall("POST", f"/conversations/{group}/members", {"user": cid.id})
    await say(ann, group, "after")
    edit = {"client_id": "e", "body": "before, edited", "base_version": 1}
    await ann.acall("PATCH", f"/messages/{before}", edit)
    assert await bodies(cid, group) == ["after"]
    assert (await cid.acall("GET", f"/messages/{before}")).code == "no_such_message"
    await ann.acall("PATCH", f"/conversations/{group}", {"history": "all"})
    assert await bodies(cid, group) == ["after", "before, edited"]


async def test_a_revoked_device_writes_nothing_more(ann: Person, group: str) -> None:
    laptop = await sync_to_async(ann.another_device)()
    await laptop.acall("DELETE", f"/devices/{ann.device.pk}")
    assert (await say(ann, group)).code == "revoked"


async def test_system_messages_are_read_but_never_changed(ann: Person, group: str) -> None:
    joined = await Message.objects.filter(conversation_id=group).afirst()
    assert joined is not None
    shown = (await ann.acall("GET", f"/messages/{joined.pk}")).json
    assert json.loads(shown["body"])["event"] == "joined"
    assert "device" not in shown
    edit = {"client_id": "e", "body": "x", "base_version": 1}
    assert (await ann.acall("PATCH", f"/messages/{joined.pk}", edit)).code == "forbidden"
    assert await Membership.objects.filter(conversation_id=group).acount() == 2
