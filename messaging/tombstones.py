"""Turns messages into tombstones in small batches, beside everybody's writing.

Laws: a batch locks its conversations before anything else and in the order of their ids, as the journal
does, so that neither waits for the other in a circle; the triggers number and announce each tombstone, so
every device is told; between two batches everybody else has the floor. A batch is done or it is not: whoever
is interrupted starts again.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from uuid import UUID

from django.db import OperationalError, connection, transaction
from psycopg.errors import DeadlockDetected, LockNotAvailable

from messaging.files.contents import alone_with, reaching
from messaging.models import Attachment

T = TypeVar("T")

logger = logging.getLogger(__name__)

BATCH = 50  # messages: their conversations are locked for about 5 ms
REST = 3.0  # times as long as a batch took: maintenance has a quarter of one core at most
LOCK_TIMEOUT_MS = 1_000
ATTEMPTS = 10  # of a batch whose conversation is locked

PATIENT = "SELECT set_config('lock_timeout', %s, true)"
LOCK = """
SELECT count(*) FROM (
    SELECT FROM messaging_conversation
     WHERE id IN (SELECT conversation_id FROM messaging_message WHERE id = ANY (%s)) ORDER BY id FOR NO KEY UPDATE) locked
"""
BURY = "UPDATE messaging_message SET deleted = now() WHERE id = ANY (%s) AND deleted IS NULL AND kind <> 'system'"
FREE = "DELETE FROM messaging_attachment WHERE id = %s"
FILES = "SELECT id, file, sha256 FROM messaging_attachment WHERE message_id = ANY (%s)"

AS_JOURNAL = "SET LOCAL lockstep.writer = 'journal'"
PURGING = "SET LOCAL lockstep.purge = on"
STRIP = "UPDATE messaging_message SET client_id = NULL, fingerprint = NULL, change_id = NULL WHERE id = ANY (%s)"


@dataclass(frozen=True, kw_only=True)
class Buried:
    """How many messages became tombstones, and how many rows of files went with them."""

    messages: int = 0
    files: int = 0

    def __add__(self, other: "Buried") -> "Buried":
        return Buried(messages=self.messages + other.messages, files=self.files + other.files)


def bury(batches: Iterable[Sequence[UUID]]) -> Buried:
    """Make tombstones of these messages, a transaction a batch; what is one already stays as it is.

    Their files go, and contents that no other row names. Raises OperationalError if a conversation stays
    locked: what was done is done, and a repeat goes on from there.
    """
    return sum(in_turns(partial(bury_batch, list(ids)) for ids in batches), start=Buried())


def in_turns(steps: Iterable[Callable[[], T]]) -> Iterator[T]:
    """Take steps of a transaction each, with rests in between; one that a lock was in the way of is repeated."""
    for step in steps:
        began = time.monotonic()
        yield _repeated(step)
        time.sleep((time.monotonic() - began) * REST)


def _repeated(step: Callable[[], T]) -> T:
    for left in reversed(range(ATTEMPTS)):
        try:
            return step()
        except OperationalError as error:
            if not left or not isinstance(error.__cause__, (LockNotAvailable, DeadlockDetected)):
                raise
            logger.info("a conversation is locked; its batch is tried again")
    raise AssertionError("unreachable")


def bury_batch(ids: list[UUID], *, wholly: bool = False) -> Buried:
    """Make tombstones of these messages in one transaction; `wholly`: their keys and digests go, too."""
    with transaction.atomic(), connection.cursor() as cursor:
        lock(ids)
        cursor.execute(BURY, [ids])
        messages = cursor.rowcount
        cursor.execute(FILES, [ids])
        files = cursor.fetchall()
        if wholly:
            cursor.execute(AS_JOURNAL)  # nobody is told: no device shows them
            cursor.execute(STRIP, [ids])
    for file in files:
        drop(*file)
    return Buried(messages=messages, files=len(files))


def drop(file: UUID, place: str, sha256: str) -> None:
    """Remove the row of a file that nobody may see any more, and its content unless another row names it.

    Both or neither: whoever is interrupted, by a storage that fails, too, finds the row again. Raises
    OperationalError and OSError.
    """
    with alone_with(sha256), connection.cursor() as cursor:
        be_patient()  # by SQL it may have been given to a message of somebody else's
        cursor.execute(FREE, [file])
        if place and not Attachment.objects.filter(sha256=sha256, file=place).exists():
            with reaching() as shelf:
                shelf.delete(place)


def lock(messages: list[UUID]) -> None:
    """Lock the conversations of these messages until the transaction ends. Raises OperationalError."""
    be_patient()
    with connection.cursor() as cursor:
        cursor.execute(LOCK, [messages])


def be_patient() -> None:
    """Have the rest of the transaction raise OperationalError where it would wait long for a lock."""
    with connection.cursor() as cursor:
        cursor.execute(PATIENT, [str(LOCK_TIMEOUT_MS)])
