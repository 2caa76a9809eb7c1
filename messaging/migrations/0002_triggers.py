"""The triggers that guard, number and announce rows written outside the journal.

The files in sql/ are history like any migration: once released they change by a new migration only.
"""

import re
from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"

# In the order of need: all others call the functions of `shared`.
TOPICS = ("shared", "message", "membership", "conversation", "receipt", "device", "truncate")


def _create(topic: str) -> migrations.RunSQL:
    script = (SQL / f"0002_{topic}.sql").read_text()
    functions = re.findall(r"^CREATE FUNCTION (\w+)", script, re.MULTILINE)
    # CASCADE takes the triggers that call them.
    return migrations.RunSQL(script, f"DROP FUNCTION {', '.join(functions)} CASCADE")


class Migration(migrations.Migration):
    dependencies = [("messaging", "0001_initial"), ("presence", "0001_initial")]

    operations = [
        *map(_create, TOPICS),
        migrations.RunSQL((SQL / "0002_search_path.sql").read_text(), migrations.RunSQL.noop),
    ]
