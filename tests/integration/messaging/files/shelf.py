"""Rows of files made by plain SQL, for tests that need no content."""

import hashlib
from typing import Any

from tests import scene
from tests.scene import Psql, Seat

UPLOAD = """
INSERT INTO messaging_attachment (device_id, name, size, type, sha256, file, message_id, created)
VALUES (%s, %s, %s, 'image/png', %s, %s, %s, now() - make_interval(hours => %s)) RETURNING id::text
"""


def upload(
    sql: Psql, seat: Seat | Any, name: str = "a.png", *, message: str | None = None, hours: int = 0
) -> str:
    """A file of this device; returns its id. Its content would be its name."""
    device = seat.device if isinstance(seat, Seat) else seat
    digest = hashlib.sha256(name.encode()).hexdigest()
    place = f"{digest[:2]}/{digest}"
    return str(scene.one(sql, UPLOAD, device, name, len(name), digest, place, message, hours))


def message_of(sql: Psql, file: str) -> str | None:
    """The message that has the file."""
    found = scene.one(sql, "SELECT message_id::text FROM messaging_attachment WHERE id = %s", file)
    return None if found is None else str(found)
