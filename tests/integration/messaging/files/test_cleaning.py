"""What nobody can see any more goes; what somebody can see stays, whatever happens at once."""

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models.functions import Now

from messaging.files import contents
from messaging.files.cleaning import Cleaned, clean
from messaging.files.contents import place_of, storage
from messaging.models import Attachment, Message
from tests import scene
from tests.integration.messaging.files.conftest import Keep, stored
from tests.integration.messaging.files.test_contents import in_threads
from tests.scene import eventually

Psql = psycopg.Connection[Any]
DAY = timedelta(hours=24)
AGE = "UPDATE messaging_attachment SET created = now() - interval '25 hours'"
ATTACH = "UPDATE messaging_attachment SET message_id = %s WHERE id = %s"


def test_an_upload_that_no_message_took_goes_after_a_day(
    keep: Keep, shelf: Path, psql: Psql
) -> None:
    old = keep(b"old")
    psql.execute(AGE)
    young = keep(b"young")
    assert clean(older_than=DAY) == Cleaned(rows=1, contents=1)
    assert list(Attachment.objects.all()) == [young]
    assert list(stored(shelf)) == [young.file]
    assert old.file not in stored(shelf)
    assert clean(older_than=DAY) == Cleaned(rows=0, contents=0)


def test_files_of_messages_stay_and_those_of_deleted_ones_go(
    keep: Keep, shelf: Path, world: Any, psql: Psql
) -> None:
    file = keep(b"kept")
    psql.execute(ATTACH, [world.message.pk, file.pk])
    psql.execute(AGE)
    assert clean(older_than=DAY) == Cleaned(rows=0, contents=0)
    Message.objects.filter(pk=world.message.pk).update(deleted=Now())
    assert clean(older_than=DAY) == Cleaned(rows=1, contents=1)
    assert stored(shelf) == {}


def test_a_content_stays_while_anybody_has_it(keep: Keep, shelf: Path, psql: Psql) -> None:
    keep(b"same")
    psql.execute(AGE)
    young = keep(b"same")
    assert clean(older_than=DAY) == Cleaned(rows=1, contents=0)
    assert stored(shelf) == {young.file: b"same"}


def test_contents_without_a_row_go_and_what_is_not_ours_stays(shelf: Path, world: Any) -> None:
    assert clean(older_than=DAY) == Cleaned(rows=0, contents=0)  # there is no directory yet
    stray = shelf / place_of(hashlib.sha256(b"stray").hexdigest())
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"stray")
    theirs = [shelf / "readme.txt", stray.parent / "notes", shelf / "thumbs" / ("0" * 64)]
    for path in theirs:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"theirs")
    assert clean(older_than=DAY) == Cleaned(rows=0, contents=1)
    assert set(stored(shelf).values()) == {b"theirs"}


def test_an_upload_that_a_message_takes_meanwhile_stays(
    keep: Keep, shelf: Path, world: Any, psql: Psql
) -> None:
    """The message's transaction holds the row; the cleaning waits for it and looks again."""
    file = keep(b"late")
    psql.execute(AGE)
    with scene.connect() as writer:
        writer.execute("BEGIN")
        writer.execute(ATTACH, [world.message.pk, file.pk])

        def commit() -> None:
            waiting = "wait_event_type = 'Lock' AND starts_with(query, 'DELETE')"
            with scene.connect() as looker:
                asyncio.run(eventually(lambda: scene.count(looker, "pg_stat_activity", waiting)))
            writer.execute("COMMIT")

        found, _ = in_threads(lambda: clean(older_than=DAY), commit)
    assert found == Cleaned(rows=0, contents=0)
    assert Attachment.objects.get().message == world.message
    assert list(stored(shelf)) == [file.file]


def test_uploads_and_cleaning_at_once_leave_every_row_its_content(
    keep: Keep, shelf: Path, psql: Psql
) -> None:
    """Each round ages and removes rows while the same content comes again from two sides."""
    for _ in range(15):
        keep(b"busy")
        psql.execute(AGE)
        in_threads(lambda: keep(b"busy"), lambda: clean(older_than=DAY), lambda: keep(b"busy"))
        (place,) = set(Attachment.objects.values_list("file", flat=True))
        assert stored(shelf) == {place: b"busy"}
        psql.execute(AGE)
        clean(older_than=DAY)
        assert stored(shelf) == {}


def test_a_content_that_is_being_stored_for_long_holds_up_no_cleaning(
    shelf: Path, world: Any, psql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "LOCK_TIMEOUT_MS", 20)
    digests = [hashlib.sha256(content).hexdigest() for content in (b"stored", b"stray")]
    for digest in digests:
        (shelf / place_of(digest)).parent.mkdir(parents=True)
        (shelf / place_of(digest)).write_bytes(b"half")
    busy = "SELECT pg_advisory_lock(hashtextextended(%s, 0))"
    psql.execute(busy, [f"lockstep file {digests[0]}"])
    assert clean(older_than=DAY) == Cleaned(rows=0, contents=1)
    assert list(stored(shelf)) == [place_of(digests[0])]
    psql.execute("SELECT pg_advisory_unlock_all()")
    assert clean(older_than=DAY) == Cleaned(rows=0, contents=1)


def test_an_upload_that_fails_at_its_commit_leaves_a_stray_that_is_cleaned(
    keep: Keep, shelf: Path
) -> None:
    with transaction.atomic():
        keep(b"lost")
        transaction.set_rollback(True)
    assert len(stored(shelf)) == 1
    assert clean(older_than=DAY) == Cleaned(rows=0, contents=1)
    assert storage().listdir("")[0]


def test_the_command_says_what_went(
    keep: Keep, psql: Psql, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(b"old")
    call_command("clean_files")
    assert capsys.readouterr().out == "0 files and 0 contents removed.\n"
    call_command("clean_files", hours=0)
    assert capsys.readouterr().out == "1 files and 1 contents removed.\n"
    for hours in (-1, float("nan"), float("inf")):
        with pytest.raises(CommandError, match="is from 0, which"):
            call_command("clean_files", hours=hours)
