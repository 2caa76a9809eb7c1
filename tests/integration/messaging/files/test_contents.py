"""Contents in their storage: whole before a row names them, each once, whoever comes at once."""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connections
from django.db.models.functions import Now

from messaging.files import contents
from messaging.files.contents import TooManyWaiting, place_of
from messaging.files.intake import Intake
from messaging.models import Attachment
from messaging.protocol.errors import Refusal, Refused
from presence.models import Device
from tests.integration.messaging.files.conftest import Keep, stored, taken

Psql = psycopg.Connection[Any]
CONTENT = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100


def test_an_intake_hashes_and_measures_what_passes() -> None:
    intake = taken(CONTENT)
    assert intake.file is not None
    with intake.file:
        assert (intake.size, intake.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
        assert intake.head == CONTENT[:16]
        assert intake.file.read() == CONTENT


def test_a_content_is_stored_under_its_digest(keep: Keep, shelf: Path) -> None:
    attachment = keep(CONTENT)
    attachment.refresh_from_db()
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert stored(shelf) == {place_of(digest): CONTENT}
    assert (attachment.sha256, attachment.size, attachment.type, attachment.message) == (
        digest,
        len(CONTENT),
        "image/png",
        None,
    )


def test_equal_contents_are_stored_once(keep: Keep, shelf: Path) -> None:
    one, two, other = keep(CONTENT), keep(CONTENT, name="b.bin"), keep(b"other")
    assert one.pk != two.pk
    assert one.file == two.file != other.file
    assert len(stored(shelf)) == 2


def test_a_content_that_was_lost_is_mended_by_whoever_uploads_it_again(
    keep: Keep, shelf: Path
) -> None:
    before = keep(CONTENT)
    (shelf / before.file).unlink()
    assert keep(CONTENT).file == before.file
    assert stored(shelf) == {before.file: CONTENT}


def test_the_rest_of_an_accident_is_written_anew(keep: Keep, shelf: Path) -> None:
    place = place_of(hashlib.sha256(CONTENT).hexdigest())
    (shelf / place).parent.mkdir(parents=True)
    (shelf / place).write_bytes(CONTENT[:100])
    assert keep(CONTENT).file == place
    assert stored(shelf) == {place: CONTENT}


def test_a_storage_that_fails_leaves_neither_row_nor_content(
    keep: Keep, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync(place: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(contents, "settle", sync)
    with pytest.raises(OSError, match="No space"):
        keep(CONTENT)
    assert not Attachment.objects.exists()
    assert stored(shelf) == {}


def test_a_device_that_was_revoked_meanwhile_keeps_nothing(
    keep: Keep, shelf: Path, world: Any
) -> None:
    Device.objects.update(revoked=Now())
    with pytest.raises(Refused) as caught:
        keep(CONTENT)
    assert caught.value.refusal is Refusal.REVOKED
    assert not Attachment.objects.exists()
    assert stored(shelf) == {}


def test_a_device_that_is_revoked_while_its_upload_is_stored_keeps_nothing_either(
    keep: Keep, shelf: Path, psql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = contents._store

    def store_and_revoke(intake: Intake) -> str:
        place = store(intake)
        psql.execute("UPDATE presence_device SET revoked = now()")
        return place

    monkeypatch.setattr(contents, "_store", store_and_revoke)
    with pytest.raises(Refused) as caught:
        keep(CONTENT)
    assert caught.value.refusal is Refusal.REVOKED
    assert not Attachment.objects.exists()
    assert stored(shelf) == {}


def in_threads(*works: Callable[[], object]) -> list[object]:
    """Run these at once, each with a connection of its own; raises what one raised."""

    def run(work: Callable[[], object]) -> object:
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def test_who_stores_the_same_content_at_once_shares_it(keep: Keep, shelf: Path) -> None:
    made = in_threads(*[lambda: keep(CONTENT)] * 8)
    assert len({str(it) for it in made}) == 1  # all have the one name
    assert Attachment.objects.count() == 8
    assert len(set(Attachment.objects.values_list("file", flat=True))) == 1
    assert list(stored(shelf).values()) == [CONTENT]


def test_of_uploads_that_come_at_once_no_more_are_kept_than_may_wait(
    keep: Keep, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are stored before the first one is counted."""
    store, together = contents._store, threading.Barrier(contents.AT_ONCE)

    def store_together(intake: Intake) -> str:
        place = store(intake)
        together.wait(20)
        return place

    def kept(number: int) -> bool:
        try:
            keep(bytes([number]) * 10, most=3)
        except TooManyWaiting:
            return False
        return True

    keep(CONTENT)
    monkeypatch.setattr(contents, "_store", store_together)
    made = in_threads(*[partial(kept, number) for number in range(contents.AT_ONCE)])
    assert sorted(map(bool, made)) == [False] * 2 + [True] * 2
    assert Attachment.objects.count() == len(stored(shelf)) == 3
