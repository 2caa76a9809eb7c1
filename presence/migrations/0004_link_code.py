"""Codes with which a signed-in device links a new one."""

import datetime

import django.db.models.deletion
from django.db import migrations, models
from django.db.models.functions import Now

import presence.identifiers


class Migration(migrations.Migration):
    dependencies = [("presence", "0003_presence")]

    operations = [
        migrations.CreateModel(
            name="LinkCode",
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
                    "code_hash",
                    models.BinaryField(
                        help_text="Keyed hash of the code, which itself is not stored.",
                        max_length=32,
                        unique=True,
                    ),
                ),
                ("created", models.DateTimeField(db_default=Now(), editable=False)),
                (
                    "expires",
                    models.DateTimeField(
                        db_default=Now() + datetime.timedelta(minutes=2), editable=False
                    ),
                ),
                ("used", models.DateTimeField(editable=False, null=True)),
                (
                    "issuer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="link_codes",
                        to="presence.device",
                    ),
                ),
                (
                    "redeemed_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="linked_by",
                        to="presence.device",
                    ),
                ),
            ],
        ),
    ]
