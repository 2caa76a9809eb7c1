"""The users that a developer logs in with."""

from typing import Any

import pytest
from django.db.models.signals import pre_save

from presence.models import User
from project import demo
from tests import scene


@pytest.mark.usefixtures("transactional_db")
def test_of_two_serves_that_start_at_once_on_a_fresh_machine_neither_fails() -> None:
    """Both found no users; the hash of a password takes long enough for the other to be first."""

    def be_first(instance: User, **_: Any) -> None:
        pre_save.disconnect(be_first, sender=User)
        with scene.connect() as other:
            other.execute(
                "INSERT INTO presence_user (username, password) VALUES (%s, 'theirs')",
                [instance.username],
            )

    pre_save.connect(be_first, sender=User)
    demo.make_users()
    assert list(User.objects.order_by("username").values_list("username", flat=True)) == [
        *demo.NAMES
    ]
