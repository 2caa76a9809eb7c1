"""Up to which change messages of a conversation may be gone for real."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """A number on each conversation; no row is rewritten."""

    dependencies: ClassVar = [("messaging", "0007_attachment")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="conversation",
            name="purged_seq",
            field=models.BigIntegerField(
                db_default=0,
                editable=False,
                help_text="Changes up to here may be gone for real: a device that is not as far starts anew.",
            ),
        ),
    ]
