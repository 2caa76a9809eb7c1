"""How a session's user is there, what users say of themselves, and the triggers that announce both.

The file in sql/ is history like any migration: once released it changes by a new migration only.
"""

import re
from pathlib import Path

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

SCRIPT = (Path(__file__).parent / "sql" / "0003_presence.sql").read_text()
FUNCTIONS = re.findall(r"^CREATE FUNCTION (\w+)", SCRIPT, re.MULTILINE)


class Migration(migrations.Migration):
    dependencies = [("presence", "0002_user_defaults")]

    operations = [
        migrations.AddField(
            model_name="connection",
            name="state",
            field=models.CharField(
                choices=[("online", "Online"), ("away", "Away"), ("ending", "Ending")],
                db_default="online",
                max_length=8,
            ),
        ),
        migrations.AddConstraint(
            model_name="connection",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["online", "away", "ending"])),
                name="presence_connection_state",
            ),
        ),
        migrations.CreateModel(
            name="Status",
            fields=[
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="status",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("text", models.CharField(blank=True, db_default="", max_length=140)),
                (
                    "text_until",
                    models.DateTimeField(
                        blank=True,
                        help_text="The text is shown until this moment (database time).",
                        null=True,
                    ),
                ),
                (
                    "invisible",
                    models.BooleanField(
                        db_default=False,
                        help_text="Shown as offline to everyone else, whatever their devices do.",
                    ),
                ),
                (
                    "changed",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
            ],
            options={"verbose_name_plural": "statuses"},
        ),
        # CASCADE takes the triggers that call them.
        migrations.RunSQL(SCRIPT, f"DROP FUNCTION {', '.join(FUNCTIONS)} CASCADE"),
    ]
