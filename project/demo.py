"""The users that a developer logs in with. Only `serve` makes them, and only with DEBUG."""

from contextlib import suppress

from django.db import IntegrityError, transaction

from presence.models import User

NAMES = ("alice", "bob")
PASSWORD = "lockstep"  # noqa: S105 - it is printed at every start


def make_users() -> None:
    """Make the demo users that are missing. The first of them may enter the admin."""
    for name in NAMES:
        if not User.objects.filter(username=name).exists():
            chief = name == NAMES[0]
            # Another `serve` that starts now may be first.
            with suppress(IntegrityError), transaction.atomic():
                User.objects.create_user(
                    name, password=PASSWORD, is_staff=chief, is_superuser=chief
                )
