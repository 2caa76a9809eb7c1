"""Defaults for the columns of Django's own user, which has them in Python only."""

from pathlib import Path

from django.db import migrations

SCRIPT = (Path(__file__).parent / "sql" / "0002_user_defaults.sql").read_text()


class Migration(migrations.Migration):
    dependencies = [("presence", "0001_initial")]

    operations = [migrations.RunSQL(SCRIPT, migrations.RunSQL.noop)]
