"""Erase users: their messages become tombstones of nobody, and nothing tells any more who they were. For ever."""

import contextlib
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

import psycopg
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from messaging import erasure
from messaging.erasure import Traces


class Command(BaseCommand):
    """Interrupted or repeated it goes on where it was; once a name is erased, the id still finds the user."""

    help = (
        "Erases users for ever: their messages become tombstones of nobody, and nothing tells any more "
        "who they were."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take names or ids."""
        parser.add_argument("users", nargs="+", metavar="USER", help="a user name, or an id")
        parser.add_argument("--dry-run", action="store_true", help="only count")

    def handle(self, *, users: list[str], **options: Any) -> None:
        """Know them all before the first one goes."""
        for user in [find(each) for each in users]:
            there = erasure.traces(user)
            if options["dry_run"]:
                self.stdout.write(f"{user} has {_counted(there)}.")
                continue
            try:
                erasure.erase(user)
            except (OperationalError, OSError, psycopg.Error) as error:
                words = str(error).strip().splitlines()[0].rstrip(".")
                raise CommandError(
                    f"{words}. Run it again with {user}: what is done is done."
                ) from error
            self.stdout.write(
                f"{user} is erased: {_counted(there)}. Note the id for restored backups."
            )


def find(name: str) -> UUID:
    """The user of this name or id. Raises CommandError."""
    users = get_user_model()._default_manager
    found = users.filter(**{get_user_model().USERNAME_FIELD: name}).first()
    if found is None:
        with contextlib.suppress(ValueError):
            found = users.filter(pk=UUID(name)).first()
    if found is None:
        raise CommandError(f"There is no user {name}; give a user name or an id.")
    key: UUID = found.pk
    return key


def _counted(there: Traces) -> str:
    return (
        f"{there.devices} devices, {there.conversations} conversations, "
        f"{there.messages} messages, {there.files} files"
    )
