"""What users say of themselves: a text, when it ends, and whether they are seen at all.

What is left out (None) stays as it is, with one exception: the end belongs to the text, so a text that
is given without one lasts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from django.db import connection, transaction

from presence import statements

LAST_MS = 253_402_300_799_999  # the end of the year 9999: no calendar of ours goes further

Columns = tuple[list[str], list[str | None], list[int | None], list[bool | None]]


class Saying(NamedTuple):
    """What one user says: at most 140 characters, its end in ms since the Unix epoch."""

    user: str
    text: str | None = None
    until: int | None = None
    invisible: bool | None = None


def columns(sayings: Iterable[Saying]) -> Columns:
    """For `statements.DESCRIBE`: what each user says, the later of several word for word over the earlier."""
    merged: dict[str, Saying] = {}
    for saying in sayings:
        merged[saying.user] = _after(merged.get(saying.user, Saying(saying.user)), saying)
    said = merged.values()
    ends = [None if one.until is None else min(max(one.until, 0), LAST_MS) for one in said]
    return list(merged), [one.text for one in said], ends, [one.invisible for one in said]


def say(saying: Saying) -> None:
    """Store what a user says, on Django's connection; triggers tell everyone. Raises django.db.Error."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.MAKE_STATUSES, [[saying.user]])
        cursor.execute(statements.DESCRIBE, columns([saying]))


def _after(first: Saying, then: Saying) -> Saying:
    """Both, as if said one after the other."""
    text, until = then.text, then.until
    if text is None:
        text, until = first.text, first.until if until is None else until
    invisible = first.invisible if then.invisible is None else then.invisible
    return Saying(first.user, text, until, invisible)
