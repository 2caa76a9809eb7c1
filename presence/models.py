"""Users and what they say of themselves, devices, server processes and live sessions.

A device is revoked, never deleted, once it has written: its messages keep their author.
A device is here while it has a `Connection` on a `Node` whose lease has not run out by database time.
Tokens are in `tokens`, sessions in `roster`, who is here in `who`.
"""

from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models.functions import Now

from presence.identifiers import NewId

MAX_TEXT = 140  # characters: a line beside a name
LINK_CODE_LASTS = timedelta(minutes=2)  # enough to pick up the other device, little to guess in


class User(AbstractUser):
    """A person or a bot. Projects keep what else they know of people in models that refer to it."""

    id = models.UUIDField(primary_key=True, db_default=NewId(), editable=False)


class Device(models.Model):
    """One installation of a client that a user has logged in from."""

    id = models.UUIDField(primary_key=True, db_default=NewId(), editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="devices", db_index=False
    )
    installation = models.CharField(
        max_length=64, help_text="Made by the client once; makes registration idempotent."
    )
    name = models.CharField(max_length=64, blank=True, db_default="")
    platform = models.CharField(max_length=32, blank=True, db_default="")
    token_hash = models.BinaryField(
        max_length=32, unique=True, help_text="SHA-256 of the token, which itself is not stored."
    )
    registered = models.DateTimeField(db_default=Now(), editable=False)
    last_seen = models.DateTimeField(null=True, blank=True, editable=False)
    revoked = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(
                fields=["user", "installation"], name="presence_device_user_installation"
            ),
        ]

    def __str__(self) -> str:
        return self.name or f"device {self.pk}"


class Node(models.Model):
    """One server process. Its sessions count only while its lease lasts."""

    id = models.UUIDField(primary_key=True, db_default=NewId(), editable=False)
    name = models.CharField(max_length=64, blank=True, db_default="")
    started = models.DateTimeField(db_default=Now(), editable=False)
    lease = models.DateTimeField(
        db_default=Now(), help_text="The process counts as live until this moment (database time)."
    )

    def __str__(self) -> str:
        return self.name or f"node {self.pk}"


class Connection(models.Model):
    """One live session of a device on a server process; its id is the session's id."""

    class State(models.TextChoices):
        """How its user is there. One that is ending was asked to go, and counts no more."""

        ONLINE = "online"
        AWAY = "away"
        ENDING = "ending"

    id = models.UUIDField(primary_key=True, db_default=NewId(), editable=False)
    device = models.ForeignKey(Device, models.CASCADE, related_name="connections")
    node = models.ForeignKey(Node, models.CASCADE, related_name="connections")
    since = models.DateTimeField(db_default=Now(), editable=False)
    state = models.CharField(max_length=8, choices=State, db_default=State.ONLINE)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.CheckConstraint(
                condition=models.Q(state__in=["online", "away", "ending"]),
                name="presence_connection_state",
            ),
        ]

    def __str__(self) -> str:
        return f"session {self.pk}"


class Status(models.Model):
    """What a user wants to be shown of them. Whoever never said anything has none."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="status"
    )
    text = models.CharField(max_length=MAX_TEXT, blank=True, db_default="")
    text_until = models.DateTimeField(
        null=True, blank=True, help_text="The text is shown until this moment (database time)."
    )
    invisible = models.BooleanField(
        db_default=False, help_text="Shown as offline to everyone else, whatever their devices do."
    )
    changed = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name_plural = "statuses"

    def __str__(self) -> str:
        return f"status of {self.user_id}"


class LinkCode(models.Model):
    """A device's word for a new one, in the form of a code; see `links`."""

    id = models.UUIDField(primary_key=True, db_default=NewId(), editable=False)
    issuer = models.ForeignKey(Device, models.CASCADE, related_name="link_codes")
    code_hash = models.BinaryField(
        max_length=32, unique=True, help_text="Keyed hash of the code, which itself is not stored."
    )
    created = models.DateTimeField(db_default=Now(), editable=False)
    expires = models.DateTimeField(db_default=Now() + LINK_CODE_LASTS, editable=False)
    used = models.DateTimeField(null=True, editable=False)
    redeemed_by = models.ForeignKey(
        Device, models.SET_NULL, null=True, editable=False, related_name="linked_by"
    )

    def __str__(self) -> str:
        return f"link code of {self.issuer_id}"
