"""Devices in the admin: revoked at once and for ever, never edited into something untrue."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin import site
from django.contrib.auth.models import Permission
from django.db import connection
from django.db.models.functions import Now
from django.db.models.signals import pre_save
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from presence import roster
from presence.admin import devices
from presence.links import issue
from presence.models import Connection, Device, LinkCode, Node, Status, User
from presence.tokens import register, rotate, token_hash
from tests import scene

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


def test_a_revocation_that_fails_is_told_in_a_line_and_waited_for_when_it_is_asked_again(
    browser: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "REVOKE_TIMEOUT_MS", 100)
    phone, _ = register(user=ann, installation="phone")
    with scene.connect() as holder:
        holder.execute("BEGIN")
        holder.execute("SELECT FROM presence_device FOR UPDATE")
        told = revoke(browser, phone).content.decode()
    assert "1 not revoked, or something may still reach them: canceling statement" in told
    Device.objects.update(revoked=Now())
    asked: list[str] = []
    monkeypatch.setattr(devices, "revoke_device", lambda device: asked.append(str(device)))
    revoke(browser, phone)
    assert asked == [str(phone.pk)]


def test_a_device_that_is_locked_keeps_none_of_the_others_alive(
    browser: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever revoked what was stolen revoked nothing behind it in the list, however often they tried."""
    monkeypatch.setattr(roster, "REVOKE_TIMEOUT_MS", 100)
    stolen = [register(user=ann, installation=f"i{n}")[0] for n in range(3)]
    with scene.connect() as holder:
        holder.execute("BEGIN")
        holder.execute("SELECT FROM presence_device WHERE id = %s FOR UPDATE", [stolen[1].pk])
        told = revoke(browser, *stolen).content.decode()
    assert "1 not revoked, or something may still reach them: canceling statement" in told
    assert "2 revoked; nothing more reaches them." in told
    assert [device.pk for device in Device.objects.filter(revoked=None)] == [stolen[1].pk]


def test_a_revocation_that_waits_keeps_no_connection_of_the_pool_from_others(
    browser: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[object] = []
    phone, _ = register(user=ann, installation="phone")
    monkeypatch.setattr(devices, "revoke_device", lambda _: held.append(connection.connection))
    revoke(browser, phone)
    assert held == [None]


def test_a_device_can_be_renamed_and_nothing_else(browser: Client, ann: User) -> None:
    phone, token = register(user=ann, installation="phone")
    url = reverse("admin:presence_device_change", args=[phone.pk])
    other = {"installation": "x", "revoked_0": "2001-01-01", "revoked_1": "00:00", "platform": "x"}
    browser.post(url, {"name": "Ann's phone", **other})
    renamed = Device.objects.get()
    assert (renamed.name, renamed.installation, renamed.platform) == ("Ann's phone", "phone", "")
    assert renamed.revoked is None
    assert bytes(renamed.token_hash) == hashlib.sha256(token.encode()).digest()


def test_renaming_a_device_revives_no_token_that_is_replaced_meanwhile(
    browser: Client, ann: User
) -> None:
    phone, _ = register(user=ann, installation="phone")
    fresh: list[str] = []

    def replace(**_: Any) -> None:
        pre_save.disconnect(replace, sender=Device)
        fresh.append(rotate(Device.objects.get(pk=phone.pk)))

    pre_save.connect(replace, sender=Device)  # the page has read the device by then
    browser.post(reverse("admin:presence_device_change", args=[phone.pk]), {"name": "new"})
    renamed = Device.objects.get()
    assert renamed.name == "new"
    assert bytes(renamed.token_hash) == token_hash(fresh[0])


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
    """It is said in one line why, and what to do instead; others that were chosen with them go."""
    register(user=ann, installation="phone")
    url = reverse("admin:presence_user_delete", args=[ann.pk])
    for answer in (browser.get(url, follow=True), browser.post(url, {"post": "yes"}, follow=True)):
        html = answer.content.decode()
        assert "Not deleted: users with devices" in html
        assert "manage.py erase_user" in html
        assert "protected" not in html
    bob = User.objects.create_user(username="bob")
    chosen = {"action": "delete_selected", "_selected_action": [str(ann.pk), str(bob.pk)]}
    url = reverse("admin:presence_user_changelist")
    html = browser.post(url, {**chosen, "post": "yes"}, follow=True).content.decode()
    assert "1 left out: users with devices" in html
    assert set(User.objects.values_list("username", flat=True)) == {"root", "ann"}


def test_who_of_many_users_can_not_be_deleted_is_found_by_few_questions(
    browser: Client, ann: User
) -> None:
    register(user=ann, installation="phone")
    User.objects.bulk_create(User(username=f"user {n}") for n in range(63))
    chosen = User.objects.exclude(username="root").values_list("pk", flat=True)
    data = {"action": "delete_selected", "_selected_action": [str(key) for key in chosen]}
    with CaptureQueriesContext(connection) as asked:
        html = browser.post(reverse("admin:presence_user_changelist"), data).content.decode()
    assert "1 left out" in html
    assert len(asked) < 3 * len(chosen)  # to ask for each alone takes seven a user


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


# Who is here


@pytest.fixture
def here(ann: User) -> Connection:
    """Ann's phone is away on a process that lives; the laptop's process died."""
    phone, _ = register(user=ann, installation="phone", name="phone")
    laptop, _ = register(user=ann, installation="laptop", name="laptop")
    register(user=ann, installation="watch", name="watch")
    live = Node.objects.create(name="live", lease=Now() + timedelta(minutes=1))
    Connection.objects.create(device=laptop, node=Node.objects.create(name="dead"))
    Connection.objects.create(device=phone, node=live, state="ending")
    return Connection.objects.create(device=phone, node=live, state="away")


def shown(browser: Client, model: str, *columns: str, **query: str) -> list[tuple[object, ...]]:
    """What the page lists, in these columns."""
    answer = browser.get(reverse(f"admin:presence_{model}_changelist"), query)
    assert answer.status_code == 200
    page, model_admin = (
        answer.context["cl"],
        site.get_model_admin(apps.get_model("presence", model)),
    )

    def cell(row: Any, column: str) -> object:
        made = getattr(model_admin, column, None)
        return made(row) if made else getattr(row, column)

    return sorted(tuple(cell(row, column) for column in columns) for row in page.result_list)


def test_devices_show_how_they_are_here(browser: Client, here: Connection) -> None:
    states = shown(browser, "device", "name", "presence")
    assert states == [("laptop", "offline"), ("phone", "away"), ("watch", "offline")]


def test_of_two_sessions_of_a_device_the_one_that_is_there_counts(
    browser: Client, here: Connection
) -> None:
    Connection.objects.create(device=here.device, node=here.node)
    assert ("phone", "online") in shown(browser, "device", "name", "presence")


def test_processes_show_whether_they_live_and_what_they_hold(
    browser: Client, here: Connection
) -> None:
    assert shown(browser, "node", "name", "live", "sessions") == [
        ("dead", False, 1),
        ("live", True, 2),
    ]


def test_sessions_are_found_by_process_and_by_user(browser: Client, here: Connection) -> None:
    User.objects.create_user(username="bob")
    columns = ("state", "live")
    everything = [("away", True), ("ending", True), ("online", False)]
    assert shown(browser, "connection", *columns, q="ann") == everything
    assert shown(browser, "connection", *columns, q="bob") == []
    assert (
        shown(browser, "connection", *columns, node__id__exact=str(here.node_id)) == everything[:2]
    )


def test_a_session_that_is_disconnected_is_asked_to_end_and_still_waited_for(
    browser: Client, here: Connection
) -> None:
    chosen = [str(key) for key in Connection.objects.values_list("pk", flat=True)]
    data = {"action": "disconnect", "_selected_action": chosen}
    answer = browser.post(reverse("admin:presence_connection_changelist"), data, follow=True)
    assert "1 asked to end; their devices may connect again." in answer.content.decode()
    here.refresh_from_db()
    assert here.state == "ending"
    assert Connection.objects.count() == 3


def test_whoever_may_only_look_at_sessions_ends_none(browser: Client, here: Connection) -> None:
    looker = User.objects.create_user(username="looker", password="secret", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_connection"))
    client = Client()
    assert client.login(username="looker", password="secret")
    data = {"action": "disconnect", "_selected_action": [str(here.pk)]}
    client.post(reverse("admin:presence_connection_changelist"), data)
    here.refresh_from_db()
    assert here.state == "away"


def test_what_a_user_says_can_be_changed_and_stays_theirs(browser: Client, ann: User) -> None:
    bob = User.objects.create_user(username="bob")
    page = reverse("admin:presence_status_add")
    browser.post(
        page, {"user": str(ann.pk), "text": "lunch", "text_until_0": "", "text_until_1": ""}
    )
    assert Status.objects.get(user=ann).text == "lunch"
    page = reverse("admin:presence_status_change", args=[ann.pk])
    browser.post(
        page, {"user": str(bob.pk), "text": "back", "text_until_0": "", "text_until_1": ""}
    )
    assert [(one.user_id, one.text) for one in Status.objects.all()] == [(ann.pk, "back")]
    assert shown(browser, "status", "text", "invisible") == [("back", False)]
