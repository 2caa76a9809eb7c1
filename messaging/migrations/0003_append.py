"""The journal's SQL: one function call per batch, and the wire form of a message.

The files in sql/ are history like any migration: once released they change by a new migration only.
"""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


def _create(name: str, drop: str) -> migrations.RunSQL:
    return migrations.RunSQL((SQL / f"0003_{name}.sql").read_text(), f"DROP FUNCTION {drop}")


class Migration(migrations.Migration):
    dependencies = [("messaging", "0002_triggers")]

    operations = [
        _create("wire", "messaging_wire"),
        _create("append", "messaging_append, messaging_is_json"),
        migrations.RunSQL(
            "ALTER FUNCTION messaging_append SET search_path FROM CURRENT", migrations.RunSQL.noop
        ),
    ]
