"""The step after a restored backup."""

from io import StringIO

from django.core.management import call_command

from messaging.models import Epoch


def test_a_restored_backup_begins_a_new_epoch_and_names_it(transactional_db: None) -> None:
    before = Epoch.objects.get_or_create(pk=1)[0].value
    said = StringIO()
    call_command("begin_epoch", stdout=said)
    after = Epoch.objects.get().value
    assert after != before
    assert str(after) in said.getvalue()
