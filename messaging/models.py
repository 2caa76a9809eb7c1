"""Conversations, stays of members, inboxes, messages, their files, and receipts.

Laws: a conversation numbers its changes 1, 2, 3 … in commit order (`last_seq`, `Message.seq`), and
the message table is the change feed. Rows written outside the journal are numbered, checked and
announced by the triggers of migration 0002, so `seq` and `position` read back only after a refresh.
"""

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import Now

from presence.identifiers import NewId
from presence.models import Device


class Placeholder(Func):
    """A unique negative number that stands for a `seq` until the row is numbered."""

    template = "(-nextval('messaging_placeholder'::regclass))"
    arity = 0
    output_field = models.BigIntegerField()


class Conversation(models.Model):
    """A numbered stream of changes that its members follow."""

    class Kind(models.TextChoices):
        DIRECT = "direct"
        GROUP = "group"
        SELF = "self"

    class History(models.TextChoices):
        ALL = "all"
        SINCE_JOINED = "since_joined"

    id = models.UUIDField(primary_key=True, db_default=NewId(), editable=False)
    kind = models.CharField(max_length=8, choices=Kind, db_default=Kind.GROUP)
    title = models.CharField(max_length=200, blank=True, db_default="")
    history = models.CharField(
        max_length=16,
        choices=History,
        db_default=History.ALL,
        help_text="Whether a new member may read what was said before they joined.",
    )
    # Not indexed: every message moves it, and an index would forbid heap-only updates.
    last_seq = models.BigIntegerField(db_default=0, editable=False)
    purged_seq = models.BigIntegerField(
        db_default=0,
        editable=False,
        help_text="Changes up to here may be gone for real: a device that is not as far starts anew.",
    )
    fingerprint = models.BinaryField(max_length=16, null=True, blank=True)
    created = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.CheckConstraint(
                condition=Q(kind__in=["direct", "group", "self"]),
                name="messaging_conversation_kind",
            ),
            models.CheckConstraint(
                condition=Q(history__in=["all", "since_joined"]),
                name="messaging_conversation_history",
            ),
        ]

    def __str__(self) -> str:
        return self.title or f"{self.kind} {self.pk}"


class Membership(models.Model):
    """One stay of a user in a conversation; coming back makes a new row."""

    class Role(models.TextChoices):
        MEMBER = "member"
        ADMIN = "admin"

    id = models.UUIDField(primary_key=True, db_default=NewId(), editable=False)
    conversation = models.ForeignKey(Conversation, models.PROTECT, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="memberships")
    role = models.CharField(max_length=8, choices=Role, db_default=Role.MEMBER)
    joined_seq = models.BigIntegerField(db_default=0, editable=False)
    left_seq = models.BigIntegerField(null=True, blank=True, editable=False)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(
                fields=["conversation", "user"],
                condition=Q(left_seq__isnull=True),
                name="messaging_membership_present",
            ),
            models.CheckConstraint(
                condition=Q(role__in=["member", "admin"]), name="messaging_membership_role"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            # Stays that a DELETE is ending and whose fence is not numbered yet: empty but for moments.
            models.Index(
                fields=["id"], condition=Q(left_seq__lt=0), name="messaging_membership_leaving"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.conversation_id}"


class Inbox(models.Model):
    """Counts the changes of a user's memberships and devices, so that a lost hint is found."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="inbox"
    )
    version = models.BigIntegerField(db_default=0, editable=False)

    class Meta:
        verbose_name_plural = "inboxes"

    def __str__(self) -> str:
        return f"inbox of {self.user_id}"


class Message(models.Model):
    """A message in its newest state. `position` is its birth number, `seq` that of its last change."""

    class Kind(models.TextChoices):
        TEXT = "text"
        DATA = "data"
        SYSTEM = "system"

    id = models.UUIDField(primary_key=True, db_default=NewId(), editable=False)
    # Neither key is a constraint of the table: triggers hold them for everyone but the journal, which
    # looks at both under its locks. The check per row was a quarter of its time (docs/decisions/0001).
    conversation = models.ForeignKey(
        Conversation,
        models.PROTECT,
        related_name="messages",
        db_index=False,
        db_constraint=False,
    )
    seq = models.BigIntegerField(db_default=Placeholder(), editable=False)
    position = models.BigIntegerField(db_default=Placeholder(), editable=False)
    device = models.ForeignKey(
        Device,
        models.PROTECT,
        related_name="messages",
        null=True,
        blank=True,
        db_index=False,
        db_constraint=False,
        help_text="Empty for system messages and for messages written straight into the database.",
    )
    client_id = models.CharField(max_length=64, null=True, blank=True, editable=False)
    kind = models.CharField(max_length=8, choices=Kind, db_default=Kind.TEXT)
    body = models.TextField(blank=True, db_default="", help_text="JSON text unless kind is text.")
    # Nothing to do on delete: a deleted message stays as a tombstone, a purge clears the replies.
    reply_to = models.ForeignKey(
        "self", models.DO_NOTHING, related_name="replies", null=True, blank=True, db_index=False
    )
    version = models.IntegerField(db_default=1, editable=False)
    change_id = models.CharField(max_length=128, null=True, blank=True, editable=False)
    fingerprint = models.BinaryField(max_length=16, null=True, blank=True)
    created = models.DateTimeField(db_default=Now(), editable=False)
    edited = models.DateTimeField(null=True, blank=True, editable=False)
    deleted = models.DateTimeField(null=True, blank=True, editable=False)
    attachments = models.JSONField(
        null=True,
        blank=True,
        editable=False,
        help_text="What the rows of its attachments say, as devices see it; kept by the database.",
    )

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(
                fields=["conversation", "seq"], name="messaging_message_conversation_seq"
            ),
            models.UniqueConstraint(
                fields=["conversation", "position"], name="messaging_message_conversation_position"
            ),
            models.UniqueConstraint(
                fields=["device", "client_id"], name="messaging_message_device_client_id"
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["text", "data", "system"]), name="messaging_message_kind"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["reply_to"],
                condition=Q(reply_to__isnull=False),
                name="messaging_message_reply_to",
            ),
            # Tombstones that a DELETE is making and that are not numbered yet: empty but for moments.
            models.Index(
                fields=["id"],
                condition=Q(seq__lt=0, deleted__isnull=False),
                name="messaging_message_deleting",
            ),
        ]

    def __str__(self) -> str:
        return f"message {self.pk}"


class Attachment(models.Model):
    """A file that a device has uploaded, of one message at most. Equal contents are stored once."""

    id = models.UUIDField(primary_key=True, db_default=NewId(), editable=False)
    device = models.ForeignKey(
        Device, models.PROTECT, related_name="attachments", help_text="Which uploaded it."
    )
    file = models.CharField(
        max_length=255,
        blank=True,
        db_default="",
        help_text="Its place in the storage `files`; equal contents share one.",
    )
    name = models.CharField(max_length=255, blank=True, db_default="")
    size = models.BigIntegerField(db_default=0, help_text="Bytes.")
    type = models.CharField(max_length=127, blank=True, db_default="application/octet-stream")
    sha256 = models.CharField(max_length=64, blank=True, db_default="")
    # Nothing to do on delete: a deleted message stays as a tombstone, a purge takes its files along.
    message = models.ForeignKey(
        Message,
        models.DO_NOTHING,
        related_name="files",
        null=True,
        blank=True,
        db_index=False,
        help_text="Empty until a message takes it along.",
    )
    created = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["message"],
                condition=Q(message__isnull=False),
                name="messaging_attachment_message",
            ),
            models.Index(
                fields=["created"],
                condition=Q(message__isnull=True),
                name="messaging_attachment_free",
            ),
            models.Index(fields=["sha256"], name="messaging_attachment_sha256"),
        ]

    def __str__(self) -> str:
        return self.name or f"file {self.pk}"


class Receipt(models.Model):
    """How far one device has got (`delivered`) and read (`read`) on a conversation's `seq` axis."""

    id = models.UUIDField(primary_key=True, db_default=NewId(), editable=False)
    device = models.ForeignKey(Device, models.PROTECT, related_name="receipts", db_index=False)
    conversation = models.ForeignKey(Conversation, models.PROTECT, related_name="receipts")
    delivered = models.BigIntegerField(db_default=0)
    read = models.BigIntegerField(db_default=0)
    delivered_at = models.DateTimeField(null=True, blank=True, editable=False)
    read_at = models.DateTimeField(null=True, blank=True, editable=False)
    changed = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(
                fields=["device", "conversation"], name="messaging_receipt_device_conversation"
            ),
            models.CheckConstraint(
                condition=Q(read__gte=0, read__lte=F("delivered")), name="messaging_receipt_order"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.device_id} at {self.delivered}/{self.read}"


class Epoch(models.Model):
    """The life of this database. A restored backup gets a new value, and clients start again."""

    id = models.SmallIntegerField(primary_key=True, db_default=1, editable=False)
    value = models.UUIDField(db_default=NewId())

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.CheckConstraint(condition=Q(id=1), name="messaging_epoch_singleton"),
        ]

    def __str__(self) -> str:
        return str(self.value)
