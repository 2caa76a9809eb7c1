"""The journal refuses what devices of deactivated users write, as what revoked devices do.

The files in sql/ are history like any migration: once released they change by a new migration only.
"""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"
CREATE, REPLACE = (f"CREATE {verb}FUNCTION messaging_append(" for verb in ("", "OR REPLACE "))
SEARCH_PATH = "ALTER FUNCTION messaging_append SET search_path FROM CURRENT;"


def _before() -> str:
    _, _, body = (SQL / "0003_append.sql").read_text().partition(CREATE)
    return f"{REPLACE}{body}{SEARCH_PATH}"


class Migration(migrations.Migration):
    dependencies = [("messaging", "0005_body")]

    operations = [
        migrations.RunSQL((SQL / "0006_append.sql").read_text() + SEARCH_PATH, _before()),
    ]
