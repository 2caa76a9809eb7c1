"""What comes in between while a user is erased: log-ins, locks, a storage that fails. A repeat goes on where it ended."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models.signals import pre_save

from messaging import tombstones
from messaging.files.contents import place_of
from messaging.models import Attachment, Membership
from presence import roster
from presence.models import Device, User
from presence.tokens import UserGone, register
from tests import scene
from tests.integration.messaging.person import MARK, SHA256, Person, erase_now

pytestmark = pytest.mark.django_db


def test_who_logged_in_before_they_were_erased_registers_no_device_after_it(
    person: Person,
) -> None:
    logged_in = User.objects.get(pk=person.user.pk)
    erase_now(MARK)
    with pytest.raises(UserGone, match="not active any more"):
        register(user=logged_in, installation=f"{MARK}-late", name=f"{MARK}'s watch")
    assert not Device.objects.filter(installation__contains=MARK).exists()


def test_a_device_that_is_being_registered_is_erased_too(person: Person) -> None:
    looked, commit = Event(), Event()

    def wait(**_: Any) -> None:
        """The user was active when it was looked at, and the device is not stored yet."""
        looked.set()
        commit.wait()

    def register_slowly() -> None:
        pre_save.connect(wait, sender=Device)
        try:
            register(user=person.user, installation=f"{MARK}-late", name=f"{MARK}'s watch")
        finally:
            pre_save.disconnect(wait, sender=Device)
            connection.close()

    with ThreadPoolExecutor(2) as threads, scene.connect() as looker:
        slow = threads.submit(register_slowly)
        looked.wait()
        erasing = threads.submit(erase_now, MARK)
        waits = "datname = current_database() AND wait_event_type = 'Lock'"

        def is_over_or_waits() -> bool:
            return erasing.done() or scene.count(looker, "pg_stat_activity", waits) > 0

        asyncio.run(scene.eventually(is_over_or_waits))
        commit.set()
        slow.result()
        erasing.result()
    assert not Device.objects.filter(installation__contains=MARK).exists()
    assert not Device.objects.filter(user=person.user, revoked=None).exists()


def test_a_conversation_that_stays_locked_ends_the_command_with_a_line_and_a_repeat_goes_on(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waited for as long as somebody held the conversation, and said nothing."""
    monkeypatch.setattr(tombstones, "ATTEMPTS", 2)
    monkeypatch.setattr(tombstones, "LOCK_TIMEOUT_MS", 50)
    with scene.connect() as holder:
        holder.execute("SET idle_in_transaction_session_timeout = '10s'")  # or a wait never ends
        holder.execute("BEGIN")
        holder.execute("SELECT FROM messaging_conversation FOR UPDATE")
        with pytest.raises(CommandError, match=f"lock timeout.*Run it again with {person.user.pk}"):
            erase_now(MARK)
    assert Membership.objects.filter(user=person.user, left_seq=None).count() == 3
    erase_now(str(person.user.pk))
    assert not Membership.objects.filter(user=person.user, left_seq=None).exists()


def test_a_device_that_stays_locked_ends_the_command_with_a_line(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "REVOKE_TIMEOUT_MS", 100)
    with scene.connect() as holder:
        holder.execute("BEGIN")
        holder.execute("SELECT FROM presence_device FOR NO KEY UPDATE")
        with pytest.raises(CommandError, match=f"timeout. Run it again with {person.user.pk}"):
            erase_now(MARK)


def test_in_somebody_elses_transaction_it_is_refused_at_once(person: Person) -> None:
    """As in a view under ATOMIC_REQUESTS: the revocation waited for what that one had locked, ten seconds, each time."""
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        call_command("erase_user", MARK)
    assert User.objects.filter(username=MARK, is_active=True).exists()


def test_what_a_storage_that_fails_leaves_is_removed_by_a_repeat(
    person: Person, shelf: Path
) -> None:
    """The rows went first: contents without a row were found by no repeat."""
    content = shelf / place_of(SHA256)
    content.unlink()
    stuck = content / "stuck"
    stuck.mkdir(parents=True)
    with pytest.raises(CommandError, match=f"not empty.*Run it again with {person.user.pk}"):
        erase_now(MARK)
    stuck.rmdir()
    content.rmdir()
    content.write_text(f"secrets of {MARK}")
    erase_now(str(person.user.pk))
    assert not Attachment.objects.exists()
    assert [path for path in shelf.rglob("*") if path.is_file()] == []
