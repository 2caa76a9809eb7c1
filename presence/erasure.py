"""Forgets who a user was: what their row, their devices and they themselves have said of them.

Law: what is kept is named here; every other column is emptied, also one that is added tomorrow. The rows of user and
devices stay, nameless, for messages keep their place in the order. What they wrote is the affair of `messaging`.
"""

import secrets
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from asgiref.sync import async_to_sync
from django.apps import apps
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth.hashers import make_password
from django.db import models, transaction

from presence import roster
from presence.models import Connection, Device, LinkCode, Status

KEPT_OF_USERS = {"id"}
KEPT_OF_DEVICES = {"id", "user", "revoked"}
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)  # for times that a row must have


def nobody(key: UUID) -> str:
    """What stands for a name where there has to be one."""
    return f"erased-{key}"


def forget(user: UUID) -> None:
    """Log a user out for ever and empty all that tells who they were; a repeat does no harm.

    When it returns nothing reaches their devices any more. Raises psycopg.Error when the database is away, and
    RuntimeError inside of a transaction: a revocation, which has a connection of its own, would wait for that one.
    """
    users = get_user_model()._default_manager.filter(pk=user)
    with transaction.atomic(durable=True):
        users.update(is_active=False)  # from now on no device can be added
    devices = list(Device.objects.filter(user=user).values_list("pk", flat=True))
    for device in devices:
        async_to_sync(roster.revoke)(str(device))
    with transaction.atomic():
        Status.objects.filter(user=user).delete()
        Connection.objects.filter(device__in=devices).delete()  # of processes that died
        LinkCode.objects.filter(issuer__in=devices).delete()
        for device in devices:
            emptied = blank(Device, device, kept=KEPT_OF_DEVICES)
            Device.objects.filter(pk=device).update(**emptied)
        _leave_groups(user)
        emptied = blank(get_user_model(), user, kept=KEPT_OF_USERS)
        users.update(**{**emptied, "password": make_password(None)})
        _forget_log([user, *devices])
    _forget_sessions(user)


def blank(model: type[models.Model], key: UUID, *, kept: Collection[str]) -> dict[str, Any]:
    """A value without meaning for every column of a row but those kept. Raises TypeError for a type that has none."""
    unique = {name for one in model._meta.total_unique_constraints for name in one.fields}
    return {
        field.name: _empty(field, key, unique=field.unique or field.name in unique)
        for field in model._meta.concrete_fields
        if field.name not in kept
    }


def _empty(field: Any, key: UUID, *, unique: bool) -> Any:
    if field.null:
        return None
    if isinstance(field, models.BooleanField):
        return False
    if isinstance(field, (models.CharField, models.TextField)):
        return nobody(key) if unique else ""
    if isinstance(field, models.BinaryField):
        return secrets.token_bytes(field.max_length or 32) if unique else b""
    if isinstance(field, models.DateTimeField):
        return LONG_AGO
    if isinstance(field, (models.IntegerField, models.FloatField, models.DecimalField)):
        return 0
    raise TypeError(f"{field} has no value that says nothing: add its type to presence.erasure.")


def _leave_groups(user: UUID) -> None:
    """Groups and permissions, as far as the user model has them."""
    row = get_user_model()._default_manager.get(pk=user)
    for field in row._meta.many_to_many:
        getattr(row, field.name).clear()


def _forget_log(keys: list[UUID]) -> None:
    """What the admin's log calls these rows."""
    if apps.is_installed("django.contrib.admin"):
        entries = apps.get_model("admin", "LogEntry")._default_manager
        entries.filter(object_id__in=map(str, keys)).update(object_repr="", change_message="")


def _forget_sessions(user: UUID) -> None:
    """Logins to the admin."""
    if apps.is_installed("django.contrib.sessions"):
        for session in apps.get_model("sessions", "Session")._default_manager.iterator():
            if session.get_decoded().get(SESSION_KEY) == str(user):
                session.delete()
