"""The admin writes like anyone: numbered, announced, and never lying about what can be undone."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from messaging.models import Attachment, Conversation, Membership, Message
from presence import database
from presence.models import User
from tests import scene

Heard = Callable[[], list[str]]
MODELS = [
    model for model in admin.site._registry if model._meta.app_label in ("messaging", "presence")
]


@pytest.fixture
def browser(world: Any) -> Client:
    User.objects.create_superuser(username="root", password="secret")
    client = Client(raise_request_exception=True)
    assert client.login(username="root", password="secret")
    return client


def page(action: str, row: Any) -> str:
    model: Any = row if isinstance(row, type) else type(row)
    arguments = [] if isinstance(row, type) else [row.pk]
    return reverse(
        f"admin:{model._meta.app_label}_{model._meta.model_name}_{action}", args=arguments
    )


def submit(browser: Client, url: str, **values: object) -> str:
    answer = browser.post(url, values, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def errors_in(html: str) -> list[str]:
    return re.findall(r'class="errorlist[^>]*>.*?</ul>', html, re.DOTALL)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_model_has_a_list_that_can_be_searched(browser: Client, model: Any) -> None:
    searchable = bool(admin.site._registry[model].search_fields)
    answer = browser.get(page("changelist", model), {"q": "ann"} if searchable else {})
    assert answer.status_code == 200


def test_a_file_shows_its_size_its_uploader_and_its_message(browser: Client, world: Any) -> None:
    file = Attachment.objects.create(
        device=world.device, name="plan.pdf", size=2_097_152, message=world.message
    )
    html = browser.get(page("changelist", Attachment)).content.decode()
    for shown in ("plan.pdf", "2.0\xa0MB", "ann (phone)", f"message {world.message.pk}"):
        assert shown in html
    assert 'name="_save"' not in browser.get(page("change", file)).content.decode()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_row_has_a_page(browser: Client, model: Any) -> None:
    for row in model._default_manager.all()[:2]:
        assert browser.get(page("change", row)).status_code == 200


def test_staff_without_the_permission_deletes_no_conversation_though_it_is_empty(
    world: Any,
) -> None:
    empty = Conversation.objects.create(title="Empty")
    User.objects.create_user(username="staff", password="secret", is_staff=True)
    client = Client()
    assert client.login(username="staff", password="secret")
    assert client.post(page("delete", empty), {"post": "yes"}).status_code == 403
    assert Conversation.objects.filter(pk=empty.pk).exists()


@pytest.mark.parametrize("model", [Conversation, Membership, Message])
def test_the_page_for_a_new_row_asks_only_what_a_writer_may_say(
    browser: Client, model: Any
) -> None:
    html = browser.get(page("add", model)).content.decode()
    assert not {"seq", "position", "last_seq", "joined_seq"} & set(
        re.findall(r'name="(\w+)"', html)
    )
    assert "DatabaseDefault" not in html


def test_a_message_written_in_the_admin_is_numbered_and_announced(
    browser: Client, world: Any, heard: Heard
) -> None:
    heard()
    html = submit(browser, page("add", Message), conversation=world.room.pk, kind="text", body="hi")
    assert errors_in(html) == []
    assert Message.objects.get(body="hi").seq == 3
    assert heard() == world.groups("room")


@pytest.mark.parametrize("what", ["change", "delete", "delete selected", "add"])
def test_a_locked_conversation_is_said_in_a_line_and_waited_for_a_moment(
    browser: Client, world: Any, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A form waited without end, and eight clicks on it had all connections of the process."""
    monkeypatch.setattr(database, "LOCK_TIMEOUT_MS", 50)
    chosen = {"action": "delete_selected", "_selected_action": [str(world.message.pk)]}
    url, values = {
        "change": (page("change", world.message), {"body": "edited"}),
        "delete": (page("delete", world.message), {"post": "yes"}),
        "delete selected": (page("changelist", Message), {**chosen, "post": "yes"}),
        "add": (page("add", Message), {"conversation": world.room.pk, "kind": "text", "body": "x"}),
    }[what]
    with scene.connect() as holder:
        holder.execute("BEGIN; SELECT FROM messaging_conversation FOR UPDATE")
        html = submit(browser, url, **values)
    assert "Nothing was changed: somebody else has locked what this needs. Try again." in html
    assert (Message.objects.get(pk=world.message.pk).version, Message.objects.count()) == (1, 2)


def test_a_text_of_several_lines_is_edited_as_it_is_written(browser: Client, world: Any) -> None:
    """A browser sends other ends of lines than it was given: whoever saved a text had it changed for all."""
    Message.objects.filter(pk=world.message.pk).update(body="  one\ntwo\n")
    submit(browser, page("change", world.message), body="  one\r\ntwo\r\n")
    world.message.refresh_from_db()
    assert (world.message.body, world.message.version) == ("  one\ntwo\n", 2)
    submit(browser, page("change", world.message), body="  one\r\nthree\r\n")
    world.message.refresh_from_db()
    assert (world.message.body, world.message.version) == ("  one\nthree\n", 3)


def test_an_edit_in_the_admin_is_an_edit_for_the_devices(
    browser: Client, world: Any, heard: Heard
) -> None:
    heard()
    submit(browser, page("change", world.message), body="edited")
    world.message.refresh_from_db()
    assert (world.message.seq, world.message.version, world.message.body) == (3, 2, "edited")
    assert (world.message.device_id, world.message.client_id) == (world.device.pk, "m1")
    assert heard() == world.groups("room")


def test_the_confirmation_says_that_a_tombstone_remains(browser: Client, world: Any) -> None:
    answer = browser.get(page("delete", world.message))
    assert "becomes a tombstone" in answer.content.decode()


def test_deleting_in_the_admin_leaves_a_tombstone(
    browser: Client, world: Any, heard: Heard
) -> None:
    heard()
    submit(browser, page("delete", world.message), post="yes")
    world.message.refresh_from_db()
    assert world.message.deleted is not None
    assert world.message.body == ""
    assert heard() == world.groups("room")


def test_the_delete_action_leaves_tombstones_and_says_what_it_leaves_out(
    browser: Client, world: Any
) -> None:
    """A system message here; then that, and the tombstone."""
    chosen = {
        "action": "delete_selected",
        "_selected_action": [str(pk) for pk in Message.objects.values_list("pk", flat=True)],
    }
    html = submit(browser, page("changelist", Message), **chosen)
    assert "1 left out: tombstones and system messages stay" in html
    assert html.count("becomes a tombstone") == 1
    submit(browser, page("changelist", Message), post="yes", **chosen)
    assert list(Message.objects.filter(deleted__isnull=False)) == [world.message]
    html = submit(browser, page("changelist", Message), post="yes", **chosen)
    assert "2 left out" in html
    assert "protected" not in html


def test_the_delete_action_ends_stays_and_leaves_out_those_that_have_ended(
    browser: Client, world: Any
) -> None:
    chosen = {"action": "delete_selected", "post": "yes", "_selected_action": [str(world.stay.pk)]}
    submit(browser, page("changelist", Membership), **chosen)
    world.stay.refresh_from_db()
    assert world.stay.left_seq == 3
    html = submit(browser, page("changelist", Membership), **chosen)
    assert "1 left out: stays that have ended" in html


def test_system_messages_and_tombstones_can_only_be_read(browser: Client, world: Any) -> None:
    system = Message.objects.get(kind="system")
    world.message.delete()
    for row in (system, Message.objects.get(kind="text")):
        assert browser.post(page("change", row), {"body": "x"}).status_code == 403
        assert browser.post(page("delete", row), {"post": "yes"}).status_code == 403


def test_what_the_database_refuses_is_said_with_its_hint(
    browser: Client, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Between opening the page and saving it the message was deleted from a device.
    save = Message.save

    def deleted_first(message: Message, *args: Any, **kwargs: Any) -> None:
        Message.objects.filter(pk=message.pk).delete()
        save(message, *args, **kwargs)

    monkeypatch.setattr(Message, "save", deleted_first)
    html = submit(browser, page("change", world.message), body="edited")
    assert "is deleted and cannot be edited" in html
    assert "insert a new message" in html


def test_data_that_is_no_json_is_refused_on_the_page(browser: Client, world: Any) -> None:
    html = submit(browser, page("add", Message), conversation=world.room.pk, kind="data", body="no")
    assert "Invalid input syntax for type json" in html
    assert not Message.objects.filter(kind="data").exists()


def test_members_join_and_leave_by_the_admin(browser: Client, world: Any, heard: Heard) -> None:
    heard()
    submit(
        browser,
        page("add", Membership),
        conversation=world.room.pk,
        user=world.bob.pk,
        role="member",
    )
    stay = Membership.objects.get(user=world.bob)
    assert (stay.joined_seq, heard()) == (3, world.groups("room", "bob"))
    assert "leaves" in browser.get(page("delete", stay)).content.decode()
    submit(browser, page("delete", stay), post="yes")
    stay.refresh_from_db()
    assert (stay.left_seq, heard()) == (4, world.groups("room", "bob"))
    assert browser.post(page("change", stay), {"role": "admin"}).status_code == 403


def test_a_new_title_is_announced(browser: Client, world: Any, heard: Heard) -> None:
    heard()
    empty_inline = {f"memberships-{name}": 0 for name in ("TOTAL_FORMS", "INITIAL_FORMS")}
    html = submit(browser, page("change", world.room), title="Hall", history="all", **empty_inline)
    assert errors_in(html) == []
    assert Message.objects.get(seq=3).body == '{"event": "title", "title": "Hall"}'
    assert heard() == world.groups("room")


def test_a_conversation_with_a_history_cannot_be_deleted(browser: Client, world: Any) -> None:
    assert browser.post(page("delete", world.room), {"post": "yes"}).status_code == 403
    empty = Conversation.objects.create()
    submit(browser, page("delete", empty), post="yes")
    assert list(Conversation.objects.all()) == [world.room]
