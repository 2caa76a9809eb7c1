"""What a backup is made of."""

from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection


@pytest.mark.usefixtures("transactional_db")
def test_a_database_without_tables_is_not_backed_up(tmp_path: Path) -> None:
    """A timer that knows no DATABASE_URL would keep nothing, night after night, and call it done."""
    place = tmp_path / "monday"
    with connection.cursor() as cursor:
        cursor.execute("SET search_path TO nowhere")
        try:
            with pytest.raises(CommandError, match=r"nothing to back up.*DATABASE_URL"):
                call_command("backup", str(place))
        finally:
            cursor.execute("RESET search_path")
    assert list(tmp_path.iterdir()) == []
