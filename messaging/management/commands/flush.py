"""Django's `flush`, allowed to empty our tables; the emptied database begins a new epoch."""

from typing import Any

from django.core.management.commands.flush import Command as DjangoFlush
from django.db import connections, router

from messaging.models import Epoch


class Command(DjangoFlush):
    """Remove all data from the database, including messages that devices still show."""

    def handle(self, **options: Any) -> None:
        """Flush as the one writer who may TRUNCATE; a database that has none of our tables as Django does."""
        if not router.allow_migrate_model(options["database"], Epoch):
            super().handle(**options)
            return
        connection = connections[options["database"]]
        with connection.cursor() as cursor:
            cursor.execute("SET lockstep.purge = on")
        try:
            super().handle(**options)
        finally:
            with connection.cursor() as cursor:
                cursor.execute("RESET lockstep.purge")
        Epoch.objects.using(options["database"]).get_or_create(pk=1)
