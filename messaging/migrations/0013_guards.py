"""What a writer past the journal could still spoil: dates, `purged_seq`, and where the triggers find their tables.

The files in sql/ are history like any migration: once released they change by a new migration only.
"""

import re
from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


def _text(name: str) -> str:
    return (SQL / f"{name}.sql").read_text()


def _function(file: str, name: str) -> str:
    """A function as the file has it, to replace what there is."""
    [found] = re.findall(rf"FUNCTION {name}\(.*?^\$\$;", _text(file), re.MULTILINE | re.DOTALL)
    return f"CREATE OR REPLACE {found}\n"


BEFORE = _function("0007_message", "messaging_message_insert") + _function(
    "0002_conversation", "messaging_conversation_update"
)


class Migration(migrations.Migration):
    dependencies = [("messaging", "0012_history"), ("presence", "0004_link_code")]

    operations = [
        # Replaced functions have no path of their own: they get it again, whichever way.
        migrations.RunSQL(
            _text("0013_guards") + _text("0013_search_path"), BEFORE + _text("0013_search_path")
        ),
    ]
