"""The journal answers the repeat of an edit or a deletion with what it did, also when its author has left since.

The files in sql/ are history like any migration: once released they change by a new migration only.
"""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"
SEARCH_PATH = "ALTER FUNCTION messaging_append SET search_path FROM CURRENT;"


class Migration(migrations.Migration):
    dependencies = [("messaging", "0009_hidden")]

    operations = [
        migrations.RunSQL(
            (SQL / "0010_append.sql").read_text() + SEARCH_PATH,
            (SQL / "0009_append.sql").read_text() + SEARCH_PATH,
        ),
    ]
