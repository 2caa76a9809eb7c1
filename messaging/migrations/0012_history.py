"""The trigger that tells open sessions that a conversation's rule of history has changed.

The files in sql/ are history like any migration: once released they change by a new migration only.
"""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("messaging", "0011_fingerprint")]

    operations = [
        migrations.RunSQL(
            (SQL / "0012_history.sql").read_text(),
            "DROP FUNCTION messaging_conversation_history CASCADE",
        ),
    ]
