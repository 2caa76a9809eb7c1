"""Registering devices, and what their tokens are good for."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from messaging.models import Membership
from presence.models import Device, User
from presence.tokens import (
    DeviceRevoked,
    TokenReplaced,
    new_token,
    register,
    rotate,
    token_hash,
)


@pytest.fixture
def ann(transactional_db: None) -> User:
    return User.objects.create_user(username="ann")


def owner_of(token: str) -> Device | None:
    return Device.objects.filter(token_hash=token_hash(token)).first()


def test_a_token_has_256_random_bits_and_is_stored_as_its_plain_sha256() -> None:
    token, digest = new_token()
    assert len(token) == 43  # 32 bytes in base64 without padding
    assert digest == hashlib.sha256(token.encode()).digest()
    assert new_token()[0] != token


def test_registering_gives_a_device_and_a_token_that_finds_it(ann: User) -> None:
    device, token = register(user=ann, installation="i1", name="Ann's phone", platform="web")
    assert owner_of(token) == device
    device.refresh_from_db()
    assert (device.user, device.name, device.platform) == (ann, "Ann's phone", "web")
    assert token not in str(vars(device))


def test_a_repeat_gives_the_same_device_with_a_fresh_token_and_ends_the_old_one(ann: User) -> None:
    device, old = register(user=ann, installation="i1", name="phone")
    again, new = register(user=ann, installation="i1", name="renamed")
    assert (again.pk, Device.objects.count()) == (device.pk, 1)
    assert owner_of(old) is None
    assert owner_of(new) == device
    assert Device.objects.get().name == "renamed"


def test_a_transaction_that_registers_a_device_waits_for_locks_as_before(ann: User) -> None:
    """Of a site's own code, say, that signs somebody up and goes on: it gave up whatever was locked for a second."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '1min'")
        register(user=ann, installation="i1")
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("1min",)


def test_installations_of_two_users_do_not_meet(ann: User) -> None:
    bob = User.objects.create_user(username="bob")
    assert register(user=ann, installation="i1")[0] != register(user=bob, installation="i1")[0]


def test_a_revoked_device_gets_no_token_and_is_told_what_to_do(ann: User) -> None:
    device, old = register(user=ann, installation="i1")
    Device.objects.update(revoked=Now())
    for attempt in (lambda: register(user=ann, installation="i1"), lambda: rotate(device)):
        with pytest.raises(DeviceRevoked, match="new installation id") as refusal:
            attempt()
        assert refusal.value.device == device.pk
    assert owner_of(old) == device
    assert register(user=ann, installation="i2")[0] != device


def test_rotating_ends_the_old_token(ann: User) -> None:
    device, old = register(user=ann, installation="i1")
    new = rotate(device)
    assert owner_of(old) is None
    assert owner_of(new) == device


def test_of_two_who_replace_one_token_at_once_one_is_refused(ann: User) -> None:
    """Both would else have an answer, and one of them a token that is dead."""
    device, _ = register(user=ann, installation="i1")
    ready = Barrier(2)

    def attempt(asking: Device) -> str | None:
        ready.wait()
        try:
            return rotate(asking)
        except TokenReplaced:
            return None
        finally:
            connection.close()

    asking = [Device.objects.get(pk=device.pk) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        [token] = [made for made in pool.map(attempt, asking) if made is not None]
    assert owner_of(token) == device


def test_registering_at_the_same_moment_makes_one_device_and_one_self_conversation(
    ann: User,
) -> None:
    def attempt(installation: str) -> str:
        try:
            return str(register(user=ann, installation=installation)[0].pk)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        devices = list(pool.map(attempt, ["i1", "i1", "i2", "i2"]))
    assert len(set(devices)) == 2
    assert [stay.conversation_id for stay in Membership.objects.filter(user=ann)] == [ann.pk]
