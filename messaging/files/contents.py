"""Contents of files in the storage `files` of Django's STORAGES, each once, named by its SHA-256.

Laws: a content is whole before a row names it, so only rows tell that a content is there: one that is
stored without a row is the rest of an accident, and is written anew. Whoever stores or removes a
content holds its lock (PostgreSQL's, until the transaction ends), whatever process it is in. Who adds
an upload of a user holds that user's lock, too, from the count on: always after the content's.
"""

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import BoundedSemaphore
from uuid import UUID

from django.core.files.base import File
from django.core.files.storage import Storage, storages
from django.db import connection, transaction

from messaging.files.intake import Intake
from messaging.models import Attachment
from messaging.protocol.errors import LockstepError, Refusal, Refused
from presence.models import Device
from presence.tokens import is_admitted

logger = logging.getLogger(__name__)

LOCK_TIMEOUT_MS = 10_000  # somebody stores the same content, perhaps in a storage far away

# A storage may be far away, and each holds one of the pool's eight connections meanwhile.
AT_ONCE = 4  # uploads that a process stores
TURN_S = 30.0  # to wait for one's turn: clients give up a line on which nothing moves for a minute
_turns = BoundedSemaphore(AT_ONCE)

LOCK = """
SELECT set_config('lock_timeout', %s, true), pg_advisory_xact_lock(hashtextextended(%s, 0))
"""


class TooManyWaiting(LockstepError):
    """A user's upload beyond the most that may wait for a message."""

    def __init__(self, most: int) -> None:
        self.most = most

    def __str__(self) -> str:
        return f"{self.most} uploads of this user wait for a message; no more are kept."


def storage() -> Storage:
    """Where contents are."""
    return storages["files"]


@contextmanager
def reaching() -> Iterator[Storage]:
    """The storage; whatever it raises inside is an OSError: one behind a network has errors of its own."""
    try:
        yield storage()
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"the storage of files failed: {error}") from error


def place_of(sha256: str) -> str:
    """The name of a content in the storage; folders, so that no directory has a million entries."""
    return f"{sha256[:2]}/{sha256}"


@contextmanager
def _turn() -> Iterator[None]:
    """One of the few uploads that are stored at a time. Raises Refused."""
    if not _turns.acquire(timeout=TURN_S):
        raise Refused(Refusal.OVERLOADED)
    try:
        yield
    finally:
        _turns.release()


@contextmanager
def alone_with(sha256: str) -> Iterator[None]:
    """A transaction in which nobody else stores or removes this content. Raises DatabaseError."""
    with transaction.atomic():
        _lock(f"lockstep file {sha256}")
        yield


def keep(intake: Intake, *, device: Device, name: str, kind: str, most: int) -> Attachment:
    """Store an upload that is complete, in turn with others, beside fewer than `most` that wait for a message.

    Raises Refused if the device was revoked meanwhile, or too many are stored; TooManyWaiting, OSError, DatabaseError.
    """
    assert intake.file is not None
    with _turn(), alone_with(intake.sha256):
        known = Attachment.objects.filter(sha256=intake.sha256).exclude(file="").first()
        place = known.file if known and _is_there(known.file) else _store(intake)
        try:
            refuse_beyond(most, device.user_id, alone=True)
            if not is_admitted(device):  # last: to store it may have taken long
                raise Refused(Refusal.REVOKED)
        except (TooManyWaiting, Refused):
            if known is None:  # the database has just answered: the content's lock is still ours
                _remove(place)
            raise
        return Attachment.objects.create(
            device=device,
            file=place,
            name=name,
            size=intake.size,
            type=kind,
            sha256=intake.sha256,
        )


def refuse_beyond(most: int, user: UUID, *, alone: bool = False) -> None:
    """Raise TooManyWaiting if so many uploads of a user wait for a message; `alone`, nobody adds one until the transaction ends."""
    if alone:
        _lock(f"lockstep uploads {user}")
    if Attachment.objects.filter(message=None, device__user=user).count() >= most:
        raise TooManyWaiting(most)


def _is_there(place: str) -> bool:
    """Whether the content has not been lost; else it is mended."""
    with reaching() as shelf:
        return shelf.exists(place)


def _store(intake: Intake) -> str:
    """Write the content, over what an accident left in its place. Returns its name."""
    place = place_of(intake.sha256)
    with reaching() as shelf:
        shelf.delete(place)
        try:
            stored = shelf.save(place, File(intake.file))
            settle(stored)
        except BaseException:
            _remove(place)
            raise
    return stored


def _remove(place: str) -> None:
    """Remove what was stored, after something went wrong that is told already."""
    with suppress(Exception):
        storage().delete(place)


def _lock(what: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(LOCK, [str(LOCK_TIMEOUT_MS), what])


def settle(place: str) -> None:
    """Have the disk keep a content before a row names it; a storage that is no directory has its own ways."""
    try:
        path = Path(storage().path(place))
    except NotImplementedError:
        return
    sync(path, path.parent)


def sync(*paths: Path) -> None:
    """Have the disk keep files and directories, in this order. Raises OSError."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            # Some network file systems can't for directories; PostgreSQL's fsync_fname passes that over, too.
            if error.errno != errno.EINVAL or not path.is_dir():
                raise
        finally:
            os.close(descriptor)


def forget(place: str, sha256: str) -> bool:
    """Remove a content unless a row names it. Returns whether it was removed."""
    with alone_with(sha256):
        if Attachment.objects.filter(sha256=sha256, file=place).exists():
            return False
        with reaching() as shelf:
            shelf.delete(place)
    return True
