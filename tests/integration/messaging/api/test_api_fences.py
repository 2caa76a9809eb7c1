"""A write over REST that waits for a lock while its device is cut off is not done (G8)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from messaging.models import Conversation, Membership
from presence import database
from presence.models import Device, Status, User
from tests import scene

if TYPE_CHECKING:
    from tests.integration.messaging.api.conftest import Answer, Person

pytestmark = pytest.mark.usefixtures("transactional_db")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take longer than a second to cut a device off."""
    monkeypatch.setattr(database, "LOCK_TIMEOUT_MS", 20_000)


@contextmanager
def held_up(
    person: Person, lock: str, key: str, method: str, path: str, body: Any
) -> Iterator[Future[Answer]]:
    """A call that waits for this lock inside, and goes on afterwards."""

    def call() -> Answer:
        try:
            return person.call(method, path, body)
        finally:
            connection.close()

    with scene.connect() as holder, ThreadPoolExecutor(1) as thread:
        holder.execute("BEGIN")
        holder.execute(lock.encode(), [key])
        answer = thread.submit(call)
        with scene.connect() as looker:
            waits = "datname = current_database() AND wait_event_type = 'Lock'"
            asyncio.run(
                scene.eventually(lambda: scene.count(looker, "pg_stat_activity", waits) > 0)
            )
        yield answer
        holder.execute("COMMIT")


ROOM = "SELECT FROM messaging_conversation WHERE id = %s FOR UPDATE"
STATUS = "SELECT FROM presence_status WHERE user_id = %s FOR UPDATE"


def test_a_device_that_is_revoked_meanwhile_changes_no_title(ann: Person, group: str) -> None:
    with held_up(ann, ROOM, group, "PATCH", f"/conversations/{group}", {"title": "Mine"}) as call:
        Device.objects.filter(pk=ann.device.pk).update(revoked=Now())
    assert (call.result().status, call.result().code) == (401, "revoked")
    assert Conversation.objects.get(pk=group).title == "Room"


def test_a_user_who_is_deactivated_meanwhile_lets_nobody_in(
    ann: Person, cid: Person, group: str
) -> None:
    members = f"/conversations/{group}/members"
    with held_up(ann, ROOM, group, "POST", members, {"user": cid.id}) as call:
        User.objects.filter(pk=ann.user.pk).update(is_active=False)
    assert call.result().code == "revoked"
    assert not Membership.objects.filter(conversation_id=group, user=cid.user).exists()


def test_a_device_that_is_revoked_meanwhile_says_nothing_of_its_user(ann: Person) -> None:
    Status.objects.create(user=ann.user, text="lunch")
    with held_up(ann, STATUS, ann.id, "PUT", "/presence", {"text": "hacked"}) as call:
        Device.objects.filter(pk=ann.device.pk).update(revoked=Now())
    assert call.result().code == "revoked"
    assert Status.objects.get().text == "lunch"
