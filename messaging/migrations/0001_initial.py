"""The tables of messaging. What guards and numbers their rows is in 0002."""

from pathlib import Path

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import messaging.models
import presence.identifiers

STORAGE = (Path(__file__).parent / "sql" / "0001_storage.sql").read_text()


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("presence", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RunSQL(
            "CREATE SEQUENCE messaging_placeholder CACHE 64", "DROP SEQUENCE messaging_placeholder"
        ),
        migrations.CreateModel(
            name="Inbox",
            fields=[
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="inbox",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("version", models.BigIntegerField(db_default=0, editable=False)),
            ],
            options={
                "verbose_name_plural": "inboxes",
            },
        ),
        migrations.CreateModel(
            name="Conversation",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=presence.identifiers.NewId(),
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("direct", "Direct"), ("group", "Group"), ("self", "Self")],
                        db_default="group",
                        max_length=8,
                    ),
                ),
                ("title", models.CharField(blank=True, db_default="", max_length=200)),
                (
                    "history",
                    models.CharField(
                        choices=[("all", "All"), ("since_joined", "Since Joined")],
                        db_default="all",
                        help_text="Whether a new member may read what was said before they joined.",
                        max_length=16,
                    ),
                ),
                ("last_seq", models.BigIntegerField(db_default=0, editable=False)),
                (
                    "created",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["direct", "group", "self"])),
                        name="messaging_conversation_kind",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("history__in", ["all", "since_joined"])),
                        name="messaging_conversation_history",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Epoch",
            fields=[
                (
                    "id",
                    models.SmallIntegerField(
                        db_default=1, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("value", models.UUIDField(db_default=presence.identifiers.NewId())),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("id", 1)), name="messaging_epoch_singleton"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Membership",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=presence.identifiers.NewId(),
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "role",
                    models.CharField(
                        choices=[("member", "Member"), ("admin", "Admin")],
                        db_default="member",
                        max_length=8,
                    ),
                ),
                ("joined_seq", models.BigIntegerField(db_default=0, editable=False)),
                ("left_seq", models.BigIntegerField(blank=True, editable=False, null=True)),
                (
                    "conversation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="memberships",
                        to="messaging.conversation",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="memberships",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("left_seq__lt", 0)),
                        fields=["id"],
                        name="messaging_membership_leaving",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("left_seq__isnull", True)),
                        fields=("conversation", "user"),
                        name="messaging_membership_present",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("role__in", ["member", "admin"])),
                        name="messaging_membership_role",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Message",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=presence.identifiers.NewId(),
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "seq",
                    models.BigIntegerField(
                        db_default=messaging.models.Placeholder(), editable=False
                    ),
                ),
                (
                    "position",
                    models.BigIntegerField(
                        db_default=messaging.models.Placeholder(), editable=False
                    ),
                ),
                (
                    "client_id",
                    models.CharField(blank=True, editable=False, max_length=64, null=True),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("text", "Text"), ("data", "Data"), ("system", "System")],
                        db_default="text",
                        max_length=8,
                    ),
                ),
                (
                    "body",
                    models.TextField(
                        blank=True, db_default="", help_text="JSON text unless kind is text."
                    ),
                ),
                ("version", models.IntegerField(db_default=1, editable=False)),
                (
                    "change_id",
                    models.CharField(blank=True, editable=False, max_length=128, null=True),
                ),
                ("fingerprint", models.BinaryField(blank=True, max_length=16, null=True)),
                (
                    "created",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                ("edited", models.DateTimeField(blank=True, editable=False, null=True)),
                ("deleted", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "conversation",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="messages",
                        to="messaging.conversation",
                    ),
                ),
                (
                    "device",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        help_text="Empty for system messages and for messages written straight into the database.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="messages",
                        to="presence.device",
                    ),
                ),
                (
                    "reply_to",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="replies",
                        to="messaging.message",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("reply_to__isnull", False)),
                        fields=["reply_to"],
                        name="messaging_message_reply_to",
                    ),
                    models.Index(
                        condition=models.Q(("deleted__isnull", False), ("seq__lt", 0)),
                        fields=["id"],
                        name="messaging_message_deleting",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("conversation", "seq"), name="messaging_message_conversation_seq"
                    ),
                    models.UniqueConstraint(
                        fields=("conversation", "position"),
                        name="messaging_message_conversation_position",
                    ),
                    models.UniqueConstraint(
                        fields=("device", "client_id"), name="messaging_message_device_client_id"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["text", "data", "system"])),
                        name="messaging_message_kind",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Receipt",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=presence.identifiers.NewId(),
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("delivered", models.BigIntegerField(db_default=0)),
                ("read", models.BigIntegerField(db_default=0)),
                ("delivered_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("read_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "changed",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                (
                    "conversation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="receipts",
                        to="messaging.conversation",
                    ),
                ),
                (
                    "device",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="receipts",
                        to="presence.device",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("device", "conversation"),
                        name="messaging_receipt_device_conversation",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("read__gte", 0), ("read__lte", models.F("delivered"))),
                        name="messaging_receipt_order",
                    ),
                ],
            },
        ),
        migrations.RunSQL(STORAGE, migrations.RunSQL.noop),
    ]
