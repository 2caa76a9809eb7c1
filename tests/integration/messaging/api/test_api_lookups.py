"""Rows by SQL that is made once are the rows that Django would give."""

from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from messaging.api.access import NEWEST_STAY
from messaging.api.auth import BY_TOKEN
from messaging.models import Membership
from presence.models import Device
from tests.integration.messaging.conftest import World, new_device

pytestmark = pytest.mark.usefixtures("transactional_db")


def test_a_device_is_found_by_its_token_with_its_user_in_one_query(world: World) -> None:
    expected = Device.objects.select_related("user").get(pk=world.device.pk)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        found = BY_TOKEN.first(expected.token_hash)
        assert found is not None
        assert found.user.is_active
    assert len(queries) == 1
    assert found == expected
    assert {f: getattr(found, f) for f in ("user_id", "name", "registered", "revoked")} == {
        f: getattr(expected, f) for f in ("user_id", "name", "registered", "revoked")
    }
    assert found.user.username == expected.user.username  # read when it is asked for
    found.name = "renamed"
    found.save()
    assert Device.objects.get(pk=found.pk).name == "renamed"
    assert BY_TOKEN.first(b"nobody's") is None


def test_the_newest_stay_is_the_present_one_or_else_the_last(world: World) -> None:
    room, bob = world.room, world.bob
    new_device(bob)
    assert NEWEST_STAY.first(room.pk, bob.pk) is None
    for _ in range(2):
        Membership.objects.create(conversation=room, user=bob)
        present = NEWEST_STAY.first(room.pk, bob.pk)
        assert present is not None
        assert present.left_seq is None
        assert (present.conversation, present.conversation.title) == (room, room.title)
        Membership.objects.filter(pk=present.pk).delete()
    last = NEWEST_STAY.first(room.pk, bob.pk)
    stays = Membership.objects.filter(conversation=room, user=bob)
    assert last == stays.latest("left_seq")
    assert stays.count() == 2
    assert NEWEST_STAY.first(uuid4(), bob.pk) is None
