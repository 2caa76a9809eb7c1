"""Devices in the admin: revoked at once and for ever, never edited into something untrue."""

import hashlib
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from presence.links import issue
from presence.models import Connection, Device, LinkCode, Node, User
from presence.tokens import register

LIST = "admin:presence_device_changelist"


@pytest.fixture
def ann(transactional_db: None) -> User:
    return User.objects.create_user(username="ann")


@pytest.fixture
def browser(transactional_db: None) -> Client:
    User.objects.create_superuser(username="root", password="secret")
    client = Client()
    assert client.login(username="root", password="secret")
    return client


def revoke(browser: Client, *devices: Device) -> Any:
    chosen = [str(device.pk) for device in devices]
    return browser.post(
        reverse(LIST), {"action": "revoke", "_selected_action": chosen}, follow=True
    )


def test_the_action_revokes_and_says_so(browser: Client, ann: User) -> None:
    phone, _ = register(user=ann, installation="phone")
    laptop, _ = register(user=ann, installation="laptop")
    answer = revoke(browser, phone)
    assert "1 revoked; nothing more reaches them." in answer.content.decode()
    assert list(Device.objects.filter(revoked=None)) == [laptop]


def test_the_action_does_not_wait_for_sessions_of_processes_that_are_gone(
    browser: Client, ann: User
) -> None:
    phone, _ = register(user=ann, installation="phone")
    Connection.objects.create(device=phone, node=Node.objects.create(name="killed"))
    revoke(browser, phone)
    assert Device.objects.get(pk=phone.pk).revoked is not None


def test_revoking_again_keeps_the_first_moment(browser: Client, ann: User) -> None:
    phone, _ = register(user=ann, installation="phone")
    revoke(browser, phone)
    first = Device.objects.get().revoked
    assert "0 revoked" in revoke(browser, phone).content.decode()
    assert Device.objects.get().revoked == first


def test_a_device_can_be_renamed_and_nothing_else(browser: Client, ann: User) -> None:
    phone, token = register(user=ann, installation="phone")
    url = reverse("admin:presence_device_change", args=[phone.pk])
    other = {"installation": "x", "revoked_0": "2001-01-01", "revoked_1": "00:00", "platform": "x"}
    browser.post(url, {"name": "Ann's phone", **other})
    renamed = Device.objects.get()
    assert (renamed.name, renamed.installation, renamed.platform) == ("Ann's phone", "phone", "")
    assert renamed.revoked is None
    assert bytes(renamed.token_hash) == hashlib.sha256(token.encode()).digest()


def test_tokens_are_shown_nowhere(browser: Client, ann: User) -> None:
    phone, _ = register(user=ann, installation="phone")
    html = browser.get(reverse("admin:presence_device_change", args=[phone.pk])).content.decode()
    assert "token" not in html.replace("csrfmiddlewaretoken", "")


@pytest.mark.parametrize("model", ["device", "node", "connection"])
@pytest.mark.parametrize("action", ["add", "delete"])
def test_rows_of_the_servers_are_neither_added_nor_deleted_by_hand(
    browser: Client, ann: User, model: str, action: str
) -> None:
    phone, _ = register(user=ann, installation="phone")
    node = Node.objects.create(name="here")
    session = Connection.objects.create(device=phone, node=node)
    row = {"device": phone, "node": node, "connection": session}[model]
    arguments = [row.pk] if action == "delete" else []
    answer = browser.post(reverse(f"admin:presence_{model}_{action}", args=arguments))
    assert answer.status_code == 403


@pytest.mark.parametrize(("state", "expected"), [("active", "laptop"), ("revoked", "phone")])
def test_the_list_is_filtered_by_state(
    browser: Client, ann: User, state: str, expected: str
) -> None:
    phone, _ = register(user=ann, installation="i1", name="phone")
    register(user=ann, installation="i2", name="laptop")
    revoke(browser, phone)
    answer = browser.get(reverse(LIST), {"state": state, "q": "ann"})
    assert [device.name for device in answer.context["cl"].queryset] == [expected]


def test_a_user_with_devices_cannot_be_deleted(browser: Client, ann: User) -> None:
    register(user=ann, installation="phone")
    url = reverse("admin:presence_user_delete", args=[ann.pk])
    assert "Cannot delete user" in browser.get(url).content.decode()
    browser.post(url, {"post": "yes"})
    assert User.objects.filter(pk=ann.pk).exists()


def test_link_codes_are_listed_and_never_shown_nor_written(browser: Client, ann: User) -> None:
    phone, _ = register(user=ann, installation="phone", name="Ann's phone")
    code = issue(phone).code
    row = LinkCode.objects.get()
    pages = [
        browser.get(reverse("admin:presence_linkcode_changelist"), {"q": "ann"}),
        browser.get(reverse("admin:presence_linkcode_change", args=[row.pk])),
    ]
    for page in pages:
        html = page.content.decode()
        assert "Ann&#x27;s phone" in html
        assert bytes(row.code_hash).hex() not in html
        assert "code_hash" not in html
        assert code not in html
    for action, arguments in (("add", []), ("delete", [row.pk])):
        url = reverse(f"admin:presence_linkcode_{action}", args=arguments)
        assert browser.post(url).status_code == 403
