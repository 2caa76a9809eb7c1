"""Begin a new epoch: the step to take after a backup was restored, before servers start."""

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand

from messaging.models import Epoch
from presence.identifiers import NewId


def begin_epoch() -> UUID:
    """Give the database a new epoch, so that devices drop cursors of the lost future."""
    Epoch.objects.get_or_create(pk=1)
    Epoch.objects.update(value=NewId())
    return Epoch.objects.get().value


class Command(BaseCommand):
    """After a restored backup: have every device start again from what the database has."""

    help = __doc__

    def handle(self, **options: Any) -> None:
        """Begin the epoch and name it."""
        self.stdout.write(f"Epoch {begin_epoch()} begins: devices will load everything anew.")
