"""Removes uploads that no message took, files of deleted messages, and contents that no row names.

Safe beside running servers: a row that a message takes meanwhile stays, and a content that is being
uploaded again is locked until its row is there.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from django.db import OperationalError, connection
from psycopg.errors import LockNotAvailable

from messaging.files.contents import forget, reaching
from messaging.models import Attachment

AT_ONCE = 1_000  # rows removed, or contents looked for, in one statement

# A batch a transaction. The conditions outside are on the row alone: PostgreSQL looks at them again if it had to
# wait for a message to take it.
REMOVE_FREE = """\
DELETE FROM messaging_attachment WHERE message_id IS NULL AND id IN (
    SELECT id FROM messaging_attachment WHERE message_id IS NULL AND created < now() - make_interval(secs => %s) LIMIT %s)
"""
REMOVE_GONE = """\
DELETE FROM messaging_attachment WHERE id IN (
    SELECT f.id FROM messaging_attachment f JOIN messaging_message m ON m.id = f.message_id
     WHERE m.deleted IS NOT NULL LIMIT %s)
"""

_FOLDER, _CONTENT = re.compile(r"[0-9a-f]{2}"), re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """How many rows and contents were removed."""

    rows: int
    contents: int


def clean(*, older_than: timedelta) -> Cleaned:
    """Remove what nobody can see any more, and uploads older than this that no message took."""
    rows = _in_batches(REMOVE_FREE, older_than.total_seconds()) + _in_batches(REMOVE_GONE)
    there, contents = places(), 0
    while some := list(islice(there, AT_ONCE)):
        known = set(
            Attachment.objects.filter(sha256__in=map(_name, some)).values_list("file", flat=True)
        )
        contents += sum(_is_removed(place) for place in some if place not in known)
    return Cleaned(rows=rows, contents=contents)


def _is_removed(place: str) -> bool:
    try:
        return forget(place, _name(place))
    except OperationalError as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        return False  # somebody stores it at this moment, in a slow storage: it is wanted


def _in_batches(statement: str, *parameters: float) -> int:
    total = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(statement, [*parameters, AT_ONCE])
            if not cursor.rowcount:
                return total
            total += cursor.rowcount


def places() -> Iterator[str]:
    """What the storage has under the names of contents; anything else in it is not ours."""
    try:
        folders, _ = _listed("")
    except FileNotFoundError:  # nothing was ever uploaded
        return
    for folder in filter(_FOLDER.fullmatch, folders):
        _, names = _listed(folder)
        yield from (f"{folder}/{name}" for name in names if _CONTENT.fullmatch(name))


def _listed(folder: str) -> tuple[list[str], list[str]]:
    with reaching() as shelf:
        return shelf.listdir(folder)


def _name(place: str) -> str:
    return place.rpartition("/")[2]
