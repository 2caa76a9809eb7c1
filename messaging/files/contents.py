"""Contents of files in the storage `files` of Django's STORAGES, each once, named by its SHA-256.

Laws: a content is whole before a row names it, so only rows tell that a content is there: one that is
stored without a row is the rest of an accident, and is written anew. Whoever stores or removes a
content holds its lock (PostgreSQL's, until the transaction ends), whatever process it is in.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from django.core.files.base import File
from django.core.files.storage import Storage, storages
from django.db import connection, transaction

from messaging.files.intake import Intake
from messaging.models import Attachment
from messaging.protocol.errors import Refusal, Refused
from presence.models import Device

logger = logging.getLogger(__name__)

LOCK_TIMEOUT_MS = 10_000  # somebody stores the same content, perhaps in a storage far away

LOCK = """
SELECT set_config('lock_timeout', %s, true), pg_advisory_xact_lock(hashtextextended(%s, 0))
"""


def storage() -> Storage:
    """Where contents are."""
    return storages["files"]


def place_of(sha256: str) -> str:
    """The name of a content in the storage; folders, so that no directory has a million entries."""
    return f"{sha256[:2]}/{sha256}"


@contextmanager
def alone_with(sha256: str) -> Iterator[None]:
    """A transaction in which nobody else stores or removes this content. Raises DatabaseError."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(LOCK, [str(LOCK_TIMEOUT_MS), f"lockstep file {sha256}"])
        yield


def keep(intake: Intake, *, device: Device, name: str, kind: str) -> Attachment:
    """Store an upload that is complete. Raises Refused if the device was revoked meanwhile, OSError, DatabaseError."""
    assert intake.file is not None
    with alone_with(intake.sha256):
        known = Attachment.objects.filter(sha256=intake.sha256).exclude(file="").first()
        there = known is not None and storage().exists(
            known.file
        )  # else it was lost, and is mended
        if not is_admitted(device):
            raise Refused(Refusal.REVOKED)
        return Attachment.objects.create(
            device=device,
            file=known.file if known and there else _store(intake),
            name=name,
            size=intake.size,
            type=kind,
            sha256=intake.sha256,
        )


def waiting(user: UUID) -> int:
    """How many uploads of a user's devices no message has taken yet."""
    return Attachment.objects.filter(message=None, device__user=user).count()


def is_admitted(device: Device) -> bool:
    """Whether the device is still what it was when its request began."""
    found = Device.objects.filter(pk=device.pk, revoked=None, user__is_active=True)
    return found.exists()


def _store(intake: Intake) -> str:
    """Write the content, over what an accident left in its place. Returns its name."""
    place = place_of(intake.sha256)
    storage().delete(place)
    try:
        stored = storage().save(place, File(intake.file))
        _sync(stored)
    except BaseException:
        with suppress(Exception):  # what is wrong is told already
            storage().delete(place)
        raise
    return stored


def _sync(place: str) -> None:
    """Have the disk keep a content before a row names it; a storage that is no directory has its own ways."""
    try:
        path = storage().path(place)
    except NotImplementedError:
        return
    for name, flags in ((path, os.O_RDONLY), (os.path.dirname(path), os.O_DIRECTORY)):
        descriptor = os.open(name, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def forget(place: str, sha256: str) -> bool:
    """Remove a content unless a row names it. Returns whether it was removed."""
    with alone_with(sha256):
        if Attachment.objects.filter(sha256=sha256, file=place).exists():
            return False
        storage().delete(place)
    return True
