"""The trigger that tells the hubs of users who were deactivated: their sessions end.

The files in sql/ are history like any migration: once released they change by a new migration only.
"""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("messaging", "0003_append")]

    operations = [
        migrations.RunSQL(
            (SQL / "0004_user.sql").read_text(), "DROP FUNCTION messaging_user_updated CASCADE"
        ),
    ]
