"""`manage.py provision` makes a world in bulk, and makes nothing twice."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.functions import Now
from django.test import Client

from messaging.models import Conversation, Membership
from presence.models import Device, User

pytestmark = pytest.mark.usefixtures("transactional_db")


def provision(**options: Any) -> list[dict[str, Any]]:
    out = StringIO()
    call_command("provision", stdout=out, **options)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_each_line_is_a_device_whose_token_opens_the_api_and_its_conversations() -> None:
    lines = provision(users=6, devices=12, conversations=3, members=2, prefix="t")
    assert len(lines) == 12
    for line in lines:
        headers = {"Authorization": f"Bearer {line['token']}"}
        listed = Client().get("/api/conversations", headers=headers).json()["conversations"]
        ids = {one["conversation"] for one in listed}
        assert ids == {line["user"], *line["conversations"]}
        assert len(line["conversations"]) == 1


def test_a_repeat_makes_nothing_twice_but_gives_fresh_tokens() -> None:
    first = provision(users=3, devices=3, conversations=2, prefix="t")
    counted = [model.objects.count() for model in (User, Device, Conversation, Membership)]
    second = provision(users=3, devices=3, conversations=2, prefix="t")
    assert [model.objects.count() for model in (User, Device, Conversation, Membership)] == counted
    for before, after in zip(first, second, strict=True):
        assert before.pop("token") != after.pop("token")
        assert before == after


def test_the_planner_knows_of_what_was_made() -> None:
    provision(users=300, conversations=30, prefix="t")
    for model in (User, Device, Conversation, Membership):
        with connection.cursor() as cursor:
            name = model._meta.db_table
            cursor.execute("SELECT reltuples FROM pg_class WHERE relname = %s", [name])
            assert cursor.fetchone() == (model.objects.count(),)


def test_a_larger_repeat_adds_what_is_missing() -> None:
    provision(users=2, conversations=1, prefix="t")
    assert len(provision(users=4, conversations=2, prefix="t")) == 4
    assert Membership.objects.filter(conversation__kind="group").count() == 4


def test_every_user_is_in_a_conversation_unless_members_says_otherwise() -> None:
    lines = provision(users=7, conversations=3, prefix="t")
    assert all(line["conversations"] for line in lines)


def test_a_password_opens_the_login_of_the_new_users() -> None:
    provision(users=1, password="correct horse", prefix="t")
    body = {"username": "t-0", "password": "correct horse"}
    assert Client().post("/api/login", body, content_type="application/json").status_code == 200


def test_a_person_of_such_a_name_gets_no_device_that_others_have_the_token_of() -> None:
    """`--prefix team` gave out a token of somebody's account, and put them into its groups."""
    person = User.objects.create_user("team-1", "team-1@example.org")
    with pytest.raises(CommandError, match=r"^team-1 is .*--prefix\.$"):
        provision(users=2, prefix="team")
    assert not Device.objects.filter(user=person).exists()
    assert not User.objects.filter(username="team-0").exists()


@pytest.mark.parametrize(
    "options", [{"users": 0}, {"users": 2, "members": 3}, {"devices": -1}, {"conversations": -1}]
)
def test_numbers_that_cannot_be_are_refused_in_one_line(options: dict[str, int]) -> None:
    with pytest.raises(CommandError) as refused:
        provision(**options)
    assert "\n" not in str(refused.value)
    assert not User.objects.exists()


def test_a_prefix_whose_devices_were_revoked_is_refused_with_the_mend() -> None:
    [line] = provision(users=1, prefix="t")
    Device.objects.filter(pk=line["device"]).update(revoked=Now())
    with pytest.raises(CommandError, match="choose another --prefix"):
        provision(users=1, prefix="t")
