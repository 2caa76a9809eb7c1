"""Begin a new epoch: the step after any way of restoring a backup but `manage.py restore`, which does it itself."""

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand
from django.db import connection, transaction

from messaging.models import Epoch
from presence.identifiers import NewId

HINT = "SELECT pg_notify('lockstep', '*')"  # servers that run look at once, not with the next pass


def begin_epoch() -> UUID:
    """Give the database a new epoch, so that devices drop cursors of the lost future."""
    with transaction.atomic(), connection.cursor() as cursor:
        Epoch.objects.get_or_create(pk=1)
        Epoch.objects.update(value=NewId())
        cursor.execute(HINT)
        return Epoch.objects.get().value


class Command(BaseCommand):
    """After a restored backup: have every device start again from what the database has."""

    help = (
        "Has every device start again from what the database has: after any way of restoring a backup "
        "but `manage.py restore`."
    )

    def handle(self, **options: Any) -> None:
        """Begin the epoch and name it."""
        self.stdout.write(f"Epoch {begin_epoch()} begins: devices will load everything anew.")
