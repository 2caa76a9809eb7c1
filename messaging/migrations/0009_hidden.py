"""The journal hides from a member what was said before they joined, as every reading of it does.

The files in sql/ are history like any migration: once released they change by a new migration only.
"""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"
CREATE, REPLACE = (f"CREATE {verb}FUNCTION messaging_append(" for verb in ("", "OR REPLACE "))
SEARCH_PATH = "ALTER FUNCTION messaging_append SET search_path FROM CURRENT;"


def _before() -> str:
    _, _, body = (SQL / "0007_append.sql").read_text().partition(CREATE)
    return f"{REPLACE}{body}{SEARCH_PATH}"


class Migration(migrations.Migration):
    dependencies = [("messaging", "0008_purged")]

    operations = [
        migrations.RunSQL((SQL / "0009_append.sql").read_text() + SEARCH_PATH, _before()),
    ]
