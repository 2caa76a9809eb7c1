"""The limit of a message's body for writers outside the journal, whose own is in the protocol.

The files in sql/ are history like any migration: once released they change by a new migration only.
"""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("messaging", "0004_user")]

    operations = [
        migrations.RunSQL(
            (SQL / "0005_body.sql").read_text(), "DROP FUNCTION messaging_message_too_large CASCADE"
        ),
    ]
