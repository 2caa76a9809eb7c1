"""The code on the page for Django developers does what the page says."""

import asyncio
import re
import unittest
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from messaging.journal.journal import Journal
from messaging.models import Message
from messaging.signals import messages_committed, receipts_committed
from tests import scene
from tests.integration.messaging.writing import send
from tests.scene import Room

pytestmark = pytest.mark.django_db

PAGE = Path(__file__).resolve().parents[3] / "docs/django.md"
WRITING, LISTENING, _BOT, TESTING = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def run(code: str) -> dict[str, Any]:
    """The names that the code leaves behind."""
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def test_rows_are_numbered_changes(transactional_db: None) -> None:
    names = run(WRITING)
    orders = names["orders"]
    orders.refresh_from_db()
    assert orders.last_seq == 6  # two joined, a message, its edit, its deletion, one left
    gone = Message.objects.get(conversation=orders, position=3)
    assert (gone.seq, gone.version, gone.body) == (5, 3, "")
    assert gone.deleted is not None
    assert [stay.user for stay in orders.memberships.filter(left_seq=None)] == [names["ann"]]
    assert (names["private"].memberships.count(), names["was_made"]) == (2, True)


async def test_receivers_are_told_what_is_committed(
    journal: Journal, room: Room, capsys: pytest.CaptureFixture[str]
) -> None:
    names = run(LISTENING)
    try:
        await journal.submit(room.first.device, send(room, "m1", "hello"))
    finally:
        assert messages_committed.disconnect(names["note"])
        assert receipts_committed.disconnect(names["note_marks"])
    assert capsys.readouterr().out == f"{room.id} ['hello']\n"


def test_a_test_that_sends_leaves_no_connection_behind(transactional_db: None) -> None:
    ours = "datname = current_database() AND starts_with(application_name, 'lockstep ')"
    told = unittest.TestResult()
    with scene.connect() as sql:
        before = scene.count(sql, "pg_stat_activity", ours)
        run(TESTING)["Sending"]("test_a_message_is_stored")(told)
        assert told.errors + told.failures == []
        left = partial(scene.count, sql, "pg_stat_activity", ours)
        asyncio.run(scene.eventually(lambda: left() == before))
