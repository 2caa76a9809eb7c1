"""What a device asked for when it opened a group, so that a repeat is told from another group under the same key."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """A digest on each group that has one; no row is rewritten."""

    dependencies: ClassVar = [("messaging", "0010_repeated")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="conversation",
            name="fingerprint",
            field=models.BinaryField(blank=True, max_length=16, null=True),
        ),
    ]
