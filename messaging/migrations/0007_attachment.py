"""Files of messages: their table, the list that each message shows, and the SQL that keeps it true.

The files in sql/ are history like any migration: once released they change by a new migration only.
"""

import re
from pathlib import Path

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import presence.identifiers

SQL = Path(__file__).parent / "sql"
SEARCH_PATH = "ALTER FUNCTION {} SET search_path FROM CURRENT;"
TRIGGERS = [f"messaging_message_{name}" for name in ("insert", "update", "delete", "purged")]


def _text(name: str) -> str:
    return (SQL / f"{name}.sql").read_text()


def _functions(source: str, names: list[str]) -> str:
    """These functions as the file has them, to replace what there is, with their search path."""
    texts = re.findall(
        r"^CREATE (?:OR REPLACE )?(FUNCTION (\w+).*?^\$\$;)",
        _text(source),
        re.MULTILINE | re.DOTALL,
    )
    found = {name: f"CREATE OR REPLACE {text}{SEARCH_PATH.format(name)}" for text, name in texts}
    return "\n".join(found[name] for name in names)


class Migration(migrations.Migration):
    dependencies = [("messaging", "0006_active"), ("presence", "0002_user_defaults")]

    operations = [
        migrations.AddField(
            model_name="message",
            name="attachments",
            field=models.JSONField(
                blank=True,
                editable=False,
                help_text="What the rows of its attachments say, as devices see it; kept by the database.",
                null=True,
            ),
        ),
        migrations.CreateModel(
            name="Attachment",
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
                    "file",
                    models.CharField(
                        blank=True,
                        db_default="",
                        help_text="Its place in the storage `files`; equal contents share one.",
                        max_length=255,
                    ),
                ),
                ("name", models.CharField(blank=True, db_default="", max_length=255)),
                ("size", models.BigIntegerField(db_default=0, help_text="Bytes.")),
                (
                    "type",
                    models.CharField(
                        blank=True, db_default="application/octet-stream", max_length=127
                    ),
                ),
                ("sha256", models.CharField(blank=True, db_default="", max_length=64)),
                (
                    "created",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                (
                    "device",
                    models.ForeignKey(
                        help_text="Which uploaded it.",
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="attachments",
                        to="presence.device",
                    ),
                ),
                (
                    "message",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        help_text="Empty until a message takes it along.",
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="files",
                        to="messaging.message",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("message__isnull", False)),
                        fields=["message"],
                        name="messaging_attachment_message",
                    ),
                    models.Index(
                        condition=models.Q(("message__isnull", True)),
                        fields=["created"],
                        name="messaging_attachment_free",
                    ),
                    models.Index(fields=["sha256"], name="messaging_attachment_sha256"),
                ],
            },
        ),
        migrations.RunSQL(
            _text("0007_attachment"),
            "DROP FUNCTION messaging_attachment_check, messaging_attachment_inserted,"
            " messaging_attachment_updated, messaging_attachment_deleted CASCADE;"
            "DROP FUNCTION messaging_attachment_show, messaging_attachment_taken,"
            " messaging_attachment_wire;",
        ),
        migrations.RunSQL(
            _functions("0007_message", TRIGGERS), _functions("0002_message", TRIGGERS)
        ),
        migrations.RunSQL(_text("0007_wire"), f"DROP FUNCTION messaging_wire;{_text('0003_wire')}"),
        migrations.RunSQL(
            _text("0007_append")
            + SEARCH_PATH.format("messaging_append")
            + SEARCH_PATH.format("messaging_attachment_link"),
            "DROP FUNCTION messaging_append, messaging_attachment_link;"
            + _text("0006_append")
            + SEARCH_PATH.format("messaging_append"),
        ),
    ]
