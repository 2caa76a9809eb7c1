"""`manage.py perf_orm`: what the code of another Django app does, told by `perf e2e` line by line.

It reads JSON lines `{"do": …}` and answers each with one, once it is committed: `save` and `bulk_create` write
messages (`conversation`, `bodies`), `superuser` makes one (`name`, `password`). It ends with its input.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Write messages through the ORM."""

    help = "Writes messages through Django's ORM as `perf e2e` says; nothing for people."
    requires_system_checks = ()

    def handle(self, **_: Any) -> None:
        """Do what each line says."""
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            given = json.loads(line)
            DEEDS[given.pop("do")](**given)
            print(json.dumps({"done": True}), flush=True)


def _save(*, conversation: str, bodies: Sequence[str]) -> None:
    for body in bodies:
        _message()(conversation_id=conversation, body=body).save()


def _bulk_create(*, conversation: str, bodies: Sequence[str]) -> None:
    message = _message()
    message.objects.bulk_create(message(conversation_id=conversation, body=body) for body in bodies)


def _superuser(*, name: str, password: str) -> None:
    manager: Any = get_user_model().objects
    manager.create_superuser(username=name, password=password)


def _message() -> Any:
    """The model, as an app gets it that knows messaging by name only."""
    return apps.get_model("messaging", "Message")


DEEDS: dict[str, Callable[..., None]] = {
    "save": _save,
    "bulk_create": _bulk_create,
    "superuser": _superuser,
}
